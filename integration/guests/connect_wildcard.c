// A connect to 0.0.0.0 reaches this host.
#include "guest.h"

static void accept_child(int listener) { send_text(accept_one(listener), "here"); }

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  close(dial(&at));
  struct where own = {.length = sizeof(struct sockaddr_in)};
  own.address.ss_family = AF_INET;
  const int listener = tcp_socket(&own);
  must("listen", listen(listener, 1));
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  must("getsockname", getsockname(listener, (struct sockaddr*)&name, &length));
  set_port(&own, port_of(&name));
  const pid_t pid = in_child(accept_child, listener);
  const int fd = tcp_socket(&own);
  result("connect", connect(fd, sa(&own), own.length));
  must("getpeername", getpeername(fd, (struct sockaddr*)&name, &length));
  say("peer %s", show(&own, &name));
  recv_text(fd, "here");
  reap(pid);
}

GUEST(server, client)
