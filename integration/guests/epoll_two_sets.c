// One socket in two epoll sets and once more through a duplicate, all before connect.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  send_text(fd, "x");
  recv_end(fd);
}

static void client(struct where at) {
  const int one = (int)must("epoll_create1", epoll_create1(0));
  const int two = (int)must("epoll_create1", epoll_create1(0));
  const int fd = tcp_socket(&at);
  struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 1};
  must("epoll_ctl", epoll_ctl(one, EPOLL_CTL_ADD, fd, &event));
  event.events = EPOLLIN;
  event.data.u64 = 2;
  must("epoll_ctl", epoll_ctl(two, EPOLL_CTL_ADD, fd, &event));
  result("EPOLL_CTL_ADD twice", epoll_ctl(two, EPOLL_CTL_ADD, fd, &event));
  while (epoll_wait(one, &event, 1, 0) > 0) {  // the HUP of the unconnected socket
  }
  must("connect", connect(fd, sa(&at), at.length));
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.u64 = 3;
  result("rearm", epoll_ctl(one, EPOLL_CTL_MOD, fd, &event));
  must("epoll_wait", epoll_wait(one, &event, 1, -1));
  say("one: %s data %d", event_names(event.events), (int)event.data.u64);
  result("one again", epoll_wait(one, &event, 1, 0));
  must("epoll_wait", epoll_wait(two, &event, 1, -1));
  say("two: %s data %d", event_names(event.events), (int)event.data.u64);
}

GUEST(server, client)
