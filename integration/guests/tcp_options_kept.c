// Options set before the connect are still there after it, on both sides.
#include "guest.h"

static void set(int fd, int level, int option, int value) {
  must("setsockopt", setsockopt(fd, level, option, &value, sizeof value));
}

static void show_option(int fd, const char* name, int level, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  result(name, getsockopt(fd, level, option, &value, &length) == 0 ? value : -1);
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 44);
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 9000);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, SOL_SOCKET, SO_OOBINLINE, 1);
  set(fd, SOL_SOCKET, SO_RCVLOWAT, 5);
  set(fd, SOL_SOCKET, SO_PRIORITY, 3);
  set(fd, IPPROTO_IP, IP_TOS, 0x10);
  set(fd, IPPROTO_IP, IP_TTL, 33);
  must("connect", connect(fd, sa(&at), at.length));
  show_option(fd, "TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY);
  show_option(fd, "TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE);
  show_option(fd, "TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT);
  show_option(fd, "SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE);
  show_option(fd, "SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE);
  show_option(fd, "SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT);
  show_option(fd, "SO_PRIORITY", SOL_SOCKET, SO_PRIORITY);
  show_option(fd, "IP_TOS", IPPROTO_IP, IP_TOS);
  show_option(fd, "IP_TTL", IPPROTO_IP, IP_TTL);
}

GUEST(server, client)
