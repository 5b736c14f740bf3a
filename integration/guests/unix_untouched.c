// AF_UNIX sockets of the program's own: names, credentials, descriptors, all as ever.
#include <sys/un.h>

#include "guest.h"

static void connect_child(int number) {
  (void)number;
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0guest-unix-untouched"};
  const int fd = (int)must("socket", socket(AF_UNIX, SOCK_STREAM, 0));
  must("connect", connect(fd, (struct sockaddr*)&name, 2 + 21));
  send_text(fd, "hello");
}

static void server(struct where at) { recv_end(serve_one(&at)); }

static void client(struct where at) {
  close(dial(&at));
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0guest-unix-untouched"};
  const int listener = (int)must("socket", socket(AF_UNIX, SOCK_STREAM, 0));
  must("bind", bind(listener, (struct sockaddr*)&name, 2 + 21));
  result("listen", listen(listener, 1));
  const pid_t pid = in_child(connect_child, 0);
  socklen_t length = sizeof name;
  const int fd = (int)must("accept", accept(listener, (struct sockaddr*)&name, &length));
  say("peer's name has length %u", length);
  struct ucred who = {0};
  length = sizeof who;
  must("SO_PEERCRED", getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length));
  say("peer is the child: %d", who.pid == pid);
  length = sizeof name;
  must("getsockname", getsockname(fd, (struct sockaddr*)&name, &length));
  say("own name @%s, length %u", name.sun_path + 1, length);
  int value = -1;
  length = sizeof value;
  must("SO_DOMAIN", getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &length));
  say("domain %d", value);
  result("TCP_NODELAY", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof value));
  recv_text(fd, "hello");
  reap(pid);
}

GUEST(server, client)
