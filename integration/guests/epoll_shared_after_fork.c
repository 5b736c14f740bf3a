// An epoll set made before fork and used in the child reports the same sockets.
#include "guest.h"

static int set;

static void wait_in_child(int fd) {
  struct epoll_event event;
  must("epoll_wait", epoll_wait(set, &event, 1, -1));
  say("child: %s data %d", event_names(event.events), (int)event.data.u64);
  recv_text(fd, "ping");
  send_text(fd, "pong");
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "hello");
  send_text(fd, "ping");
  recv_text(fd, "pong");
}

static void client(struct where at) {
  set = (int)must("epoll_create1", epoll_create1(0));
  const int fd = dial(&at);
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 5};
  must("epoll_ctl", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
  send_text(fd, "hello");
  reap(in_child(wait_in_child, fd));
}

GUEST(server, client)
