// An epoll set inside another one, with the socket registered before the connect.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  await(fd);
  send_text(fd, "x");
  recv_end(fd);
}

static void client(struct where at) {
  const int inner = (int)must("epoll_create1", epoll_create1(0));
  const int outer = (int)must("epoll_create1", epoll_create1(0));
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 1};
  must("epoll_ctl", epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event));
  const int fd = tcp_socket(&at);
  event.data.u64 = 2;
  must("epoll_ctl", epoll_ctl(inner, EPOLL_CTL_ADD, fd, &event));
  must("connect", connect(fd, sa(&at), at.length));
  tell(fd);
  do {
    must("epoll_wait", epoll_wait(outer, &event, 1, -1));
    say("outer: data %d", (int)event.data.u64);
  } while (epoll_wait(inner, &event, 1, 0) != 1 || (event.events & EPOLLIN) == 0);
  say("inner: %s data %d", event_names(event.events), (int)event.data.u64);
  recv_text(fd, "x");
}

GUEST(server, client)
