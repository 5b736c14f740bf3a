// Four threads block in accept on one listener; each gets one connection.
#include <pthread.h>

#include "guest.h"

static int listener;

static void* accept_thread(void* argument) {
  (void)argument;
  const int fd = accept_one(listener);
  char byte = 0;
  recv_all(fd, &byte, 1);
  send_all(fd, &byte, 1);
  close(fd);
  return NULL;
}

static void server(struct where at) {
  listener = listen_at(&at, 16);
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i)
    must("pthread_create", -pthread_create(&threads[i], NULL, accept_thread, NULL));
  for (int i = 0; i < 4; ++i) pthread_join(threads[i], NULL);
  say("four threads served");
}

static void client(struct where at) {
  for (int i = 0; i < 4; ++i) {
    const int fd = dial(&at);
    send_text(fd, "x");
    recv_text(fd, "x");
    close(fd);
  }
}

GUEST(server, client)
