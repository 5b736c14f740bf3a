// Edge-triggered and registered before the connect, as Asio and Netty do it: the edge must come.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "request");
  send_text(fd, "reply");
  recv_end(fd);
}

/// Waits until every bit of `wanted` was reported.
static void collect(int set, unsigned wanted, const char* what) {
  unsigned seen = 0;
  while ((seen & wanted) != wanted) {
    struct epoll_event event;
    must("epoll_wait", epoll_wait(set, &event, 1, -1));
    seen |= event.events;
  }
  say("%s: edge came", what);
}

static void client(struct where at) {
  const int set = (int)must("epoll_create1", epoll_create1(0));
  const int fd = (int)must("socket", socket(at.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0));
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
  must("epoll_ctl", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
  must("epoll_wait", epoll_wait(set, &event, 1, -1));
  say("unconnected: %s", event_names(event.events));
  const int started = connect(fd, sa(&at), at.length);
  if (started != 0) collect(set, EPOLLOUT, "connected");
  if (started == 0) say("connected: edge came");  // an answer at once needs no edge
  send_text(fd, "request");
  collect(set, EPOLLIN, "reply");
  recv_text(fd, "reply");
  char byte;
  result("recv when drained", recv(fd, &byte, 1, 0));
}

GUEST(server, client)
