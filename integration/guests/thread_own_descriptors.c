// A thread with a descriptor table of its own connects a socket that only it has.
#include <pthread.h>
#include <sched.h>

#include "guest.h"

static struct where target;

static void* connect_thread(void* argument) {
  must("unshare", unshare(CLONE_FILES));
  close(*(int*)argument);  // leaves the other threads' descriptor alone
  const int fd = tcp_socket(&target);
  say("the same number: %d", fd == *(int*)argument);
  result("connect", connect(fd, sa(&target), target.length));
  send_text(fd, "from the thread");
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  must("getpeername", getpeername(fd, (struct sockaddr*)&peer, &length));
  say("peer %s", show(&target, &peer));
  return NULL;
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "from the thread");
  recv_end(fd);
}

static void client(struct where at) {
  target = at;
  int other = open("/dev/null", O_RDONLY);
  struct stat before;
  struct stat after;
  must("fstat", fstat(other, &before));
  pthread_t thread;
  must("pthread_create", -pthread_create(&thread, NULL, connect_thread, &other));
  pthread_join(thread, NULL);
  must("fstat", fstat(other, &after));
  say("the main thread's descriptor is what it was: %d",
      before.st_ino == after.st_ino && before.st_mode == after.st_mode);
}

GUEST(server, client)
