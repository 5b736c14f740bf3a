// What an accepted socket inherits from its listener.
#include "guest.h"

static void set(int fd, int level, int option, int value) {
  must("setsockopt", setsockopt(fd, level, option, &value, sizeof value));
}

static void show_option(int fd, const char* name, int level, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  must(name, getsockopt(fd, level, option, &value, &length));
  say("%s %d", name, value);
}

static void server(struct where at) {
  const int listener = bound_at(&at);
  set(listener, SOL_SOCKET, SO_SNDBUF, 20000);
  set(listener, SOL_SOCKET, SO_RCVBUF, 30000);
  set(listener, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(listener, SOL_SOCKET, SO_OOBINLINE, 1);
  set(listener, SOL_SOCKET, SO_RCVLOWAT, 3);
  set(listener, IPPROTO_TCP, TCP_NODELAY, 1);
  set(listener, IPPROTO_TCP, TCP_KEEPIDLE, 77);
  set(listener, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
  must("listen", listen(listener, 4));
  set_nonblocking(listener);
  ready(&at, listener);
  wait_for(listener, POLLIN);
  const int fd = accept_one(listener);
  show_option(fd, "SO_SNDBUF", SOL_SOCKET, SO_SNDBUF);
  show_option(fd, "SO_RCVBUF", SOL_SOCKET, SO_RCVBUF);
  show_option(fd, "SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE);
  show_option(fd, "SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE);
  show_option(fd, "SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT);
  show_option(fd, "SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR);
  show_option(fd, "SO_ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN);
  show_option(fd, "TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY);
  show_option(fd, "TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE);
  show_option(fd, "TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT);
  say("O_NONBLOCK %d", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
  say("FD_CLOEXEC %d", fcntl(fd, F_GETFD));
  recv_end(fd);
}

static void client(struct where at) { close(dial(&at)); }

GUEST(server, client)
