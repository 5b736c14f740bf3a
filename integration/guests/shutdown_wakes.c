// shutdown by one thread wakes another one that is blocked in recv.
#include <pthread.h>

#include "guest.h"

static void* recv_thread(void* argument) {
  recv_end(*(int*)argument);
  return NULL;
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  int fd = dial(&at);
  pthread_t thread;
  must("pthread_create", -pthread_create(&thread, NULL, recv_thread, &fd));
  usleep(5000);  // the thread is likely to wait by now; the output does not depend on it
  must("shutdown", shutdown(fd, SHUT_RDWR));
  pthread_join(thread, NULL);
  say("woken");
}

GUEST(server, client)
