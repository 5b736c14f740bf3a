// The socket is in the epoll set before it is connected, as nginx does with its upstreams.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "request");
  send_text(fd, "reply");
  recv_end(fd);
}

static void client(struct where at) {
  const int set = (int)must("epoll_create1", epoll_create1(0));
  const int fd = (int)must("socket", socket(at.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0));
  struct epoll_event event = {.events = EPOLLOUT, .data.u64 = 0x1122334455667788};
  must("epoll_ctl", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
  (void)!connect(fd, sa(&at), at.length);
  int error = -1;
  socklen_t length = sizeof error;
  do {  // before the connect the kernel reports OUT|HUP, which may still be on the list
    must("epoll_wait", epoll_wait(set, &event, 1, -1));
  } while ((event.events & EPOLLHUP) != 0);
  say("event %s data %llx", event_names(event.events), (unsigned long long)event.data.u64);
  must("SO_ERROR", getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
  say("SO_ERROR %d", error);
  send_text(fd, "request");
  event.events = EPOLLIN;
  event.data.u64 = 9;
  result("EPOLL_CTL_MOD", epoll_ctl(set, EPOLL_CTL_MOD, fd, &event));
  must("epoll_wait", epoll_wait(set, &event, 1, -1));
  say("event %s data %llx", event_names(event.events), (unsigned long long)event.data.u64);
  recv_text(fd, "reply");
  result("EPOLL_CTL_DEL", epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL));
  result("EPOLL_CTL_DEL again", epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL));
}

GUEST(server, client)
