// Edge-triggered epoll: one event per arrival, none for what was left unread.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  const int set = (int)must("epoll_create1", epoll_create1(0));
  wait_for(fd, POLLIN);
  struct epoll_event event = {.events = EPOLLIN | EPOLLET};
  must("epoll_ctl", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
  char byte;
  say("first: %d %s", epoll_wait(set, &event, 1, -1), event_names(event.events));
  must("recv", recv(fd, &byte, 1, 0));
  result("epoll_wait with unread data", epoll_wait(set, &event, 1, 0));
  tell(fd);
  say("new data: %d %s", epoll_wait(set, &event, 1, -1), event_names(event.events));
  recv_text(fd, "bcd");
  tell(fd);
  say("end: %d %s", epoll_wait(set, &event, 1, -1), event_names(event.events));
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  send_text(fd, "ab");
  await(fd);
  send_text(fd, "cd");
  await(fd);
  must("shutdown", shutdown(fd, SHUT_WR));
  recv_end(fd);
}

GUEST(server, client)
