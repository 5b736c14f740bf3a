// Options of level SOL_SOCKET that tell what a socket is.
#include "guest.h"

static void show_option(int fd, const char* name, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  if (getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0)
    say("%s %d", name, value);
  else
    say("%s %s", name, strerrorname_np(errno));
}

static void show_all(int fd) {
  show_option(fd, "SO_TYPE", SO_TYPE);
  show_option(fd, "SO_DOMAIN", SO_DOMAIN);
  show_option(fd, "SO_PROTOCOL", SO_PROTOCOL);
  show_option(fd, "SO_ACCEPTCONN", SO_ACCEPTCONN);
  show_option(fd, "SO_ERROR", SO_ERROR);
  show_option(fd, "SO_KEEPALIVE", SO_KEEPALIVE);
  show_option(fd, "SO_BROADCAST", SO_BROADCAST);
  show_option(fd, "SO_DONTROUTE", SO_DONTROUTE);
  show_option(fd, "SO_RCVLOWAT", SO_RCVLOWAT);
  show_option(fd, "SO_SNDLOWAT", SO_SNDLOWAT);
  show_option(fd, "SO_TIMESTAMP", SO_TIMESTAMP);
  show_option(fd, "SO_REUSEPORT", SO_REUSEPORT);
  show_option(fd, "SO_PASSCRED", SO_PASSCRED);
  show_option(fd, "SO_PASSSEC", 34);
  show_option(fd, "SO_PEERSEC", 31);
  show_option(fd, "SO_PEERGROUPS", 59);
  show_option(fd, "SO_PEERPIDFD", 77);
  show_option(fd, "SO_ZEROCOPY", SO_ZEROCOPY);
  show_option(fd, "SO_PEEK_OFF", SO_PEEK_OFF);
  show_option(fd, "option 4000", 4000);
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  show_all(fd);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  show_all(fd);
  must("connect", connect(fd, sa(&at), at.length));
  show_all(fd);
}

GUEST(server, client)
