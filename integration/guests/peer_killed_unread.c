// The peer is killed with data it never read: the connection is reset.
#include "guest.h"

static void hang(int fd) {
  wait_for(fd, POLLIN);
  pause();
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int fd = accept_one(listener);
  const int control = accept_one(listener);
  const pid_t pid = in_child(hang, fd);
  wait_for(fd, POLLIN);
  close(fd);
  kill(pid, SIGKILL);
  reap(pid);
  tell(control);
  recv_end(control);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int control = dial(&at);
  send_text(fd, "never read");
  await(control);
  wait_for(fd, 0);  // for ERR or HUP
  say("poll: %s", event_names((unsigned)events_now(fd, POLLIN | POLLOUT | POLLRDHUP)));
  recv_end(fd);
  recv_end(fd);
  result("send", send(fd, "x", 1, MSG_NOSIGNAL));
}

GUEST(server, client)
