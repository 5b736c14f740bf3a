// Level-triggered epoll: the event stays while there is data, and goes with it.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  const int set = (int)must("epoll_create1", epoll_create1(0));
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 7};
  must("epoll_ctl", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
  for (int i = 0; i < 3; ++i) {
    const int n = epoll_wait(set, &event, 1, -1);
    char byte;
    must("recv", recv(fd, &byte, 1, 0));
    say("%d event, data %d, %s, byte %c", n, (int)event.data.u64, event_names(event.events), byte);
  }
  result("epoll_wait when empty", epoll_wait(set, &event, 1, 0));
  tell(fd);
  must("epoll_wait", epoll_wait(set, &event, 1, -1));
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  send_text(fd, "abc");
  await(fd);
}

GUEST(server, client)
