// Nobody listens: ECONNREFUSED, blocking and not; the socket can be used again afterwards.
#include "guest.h"

static void server(struct where at) {
  struct where closed = at;
  set_port(&closed, 0);
  const int bound = bound_at(&closed);  // a port that is taken but not listened on
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  must("getsockname", getsockname(bound, (struct sockaddr*)&own, &length));
  const uint16_t port = port_of(&own);
  const int listener = listen_at(&at, 16);
  const int control = accept_one(listener);
  send_all(control, &port, sizeof port);
  const int fd = accept_one(listener);
  recv_text(fd, "at last");
}

static void client(struct where at) {
  const int control = dial(&at);
  uint16_t port = 0;
  recv_all(control, &port, sizeof port);
  struct where closed = at;
  set_port(&closed, port);
  int fd = tcp_socket(&at);
  result("connect", connect(fd, sa(&closed), closed.length));
  result("connect again", connect(fd, sa(&closed), closed.length));
  const int slow =
      (int)must("socket", socket(at.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0));
  if (connect(slow, sa(&closed), closed.length) != 0 && errno == EINPROGRESS) {
    say("poll: %s", event_names((unsigned)wait_for(slow, POLLIN | POLLOUT)));
    int error = 0;
    socklen_t length = sizeof error;
    must("SO_ERROR", getsockopt(slow, SOL_SOCKET, SO_ERROR, &error, &length));
    say("SO_ERROR %s", strerrorname_np(error));
    must("SO_ERROR", getsockopt(slow, SOL_SOCKET, SO_ERROR, &error, &length));
    say("SO_ERROR afterwards %d", error);
  }
  result("connect to a listener", connect(fd, sa(&at), at.length));
  send_text(fd, "at last");
}

GUEST(server, client)
