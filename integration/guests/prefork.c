// Four processes accept from one listener; every client is served exactly once.
#include "guest.h"

static void serve_child(int listener) {
  for (;;) {
    const int fd = accept_one(listener);
    char byte = 0;
    recv_all(fd, &byte, 1);
    send_all(fd, &byte, 1);
    close(fd);
    if (byte == 'q') _exit(0);
  }
}

static void server(struct where at) {
  const int listener = listen_at(&at, 64);
  pid_t pids[4];
  for (int i = 0; i < 4; ++i) pids[i] = in_child(serve_child, listener);
  for (int i = 0; i < 4; ++i) reap(pids[i]);
  say("all children are through");
}

static void client(struct where at) {
  int served = 0;
  for (int i = 0; i < 60; ++i) {
    const int fd = dial(&at);
    char byte = (char)('A' + i % 26);
    send_all(fd, &byte, 1);
    char reply = 0;
    recv_all(fd, &reply, 1);
    served += reply == byte;
    close(fd);
  }
  say("served %d", served);
  for (int i = 0; i < 4; ++i) {
    const int fd = dial(&at);
    send_text(fd, "q");
    recv_text(fd, "q");
  }
}

GUEST(server, client)
