// A listener in an epoll set with EPOLLEXCLUSIVE, inherited by a child that accepts.
#include "guest.h"

static void accept_in_child(int listener) {
  const int set = (int)must("epoll_create1", epoll_create1(0));
  struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE};
  must("epoll_ctl", epoll_ctl(set, EPOLL_CTL_ADD, listener, &event));
  say("child waits: %d", epoll_wait(set, &event, 1, -1));
  const int fd = accept_one(listener);
  send_text(fd, "from the child");
  recv_end(fd);
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  reap(in_child(accept_in_child, listener));
}

static void client(struct where at) {
  const int fd = dial(&at);
  recv_text(fd, "from the child");
}

GUEST(server, client)
