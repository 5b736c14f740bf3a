// A fresh epoll set and a fresh socket per connection, registered before each connect, in a row.
#include "guest.h"

enum { kRounds = 30 };

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  for (int i = 0; i < kRounds; ++i) {
    const int fd = accept_one(listener);
    send_text(fd, "x");
    close(fd);
  }
}

static void client(struct where at) {
  int right = 0;
  for (int i = 0; i < kRounds; ++i) {
    const int set = (int)must("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
    const int fd =
        (int)must("socket", socket(at.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0));
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = 1000 + (uint64_t)i};
    must("epoll_ctl", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
    (void)!connect(fd, sa(&at), at.length);
    do {
      must("epoll_wait", epoll_wait(set, &event, 1, -1));
    } while ((event.events & EPOLLIN) == 0);
    right += event.data.u64 == 1000 + (uint64_t)i;
    close(fd);
    close(set);
  }
  say("right: %d", right);
}

GUEST(server, client)
