// Setting options of level SOL_SOCKET on a connection.
#include "guest.h"

static const struct {
  const char* name;
  int option;
  int value;
} kOptions[] = {
    {"SO_KEEPALIVE", SO_KEEPALIVE, 5},
    {"SO_BROADCAST", SO_BROADCAST, 1},
    {"SO_OOBINLINE", SO_OOBINLINE, 1},
    {"SO_PRIORITY", SO_PRIORITY, 2},
    {"SO_PRIORITY of 6", SO_PRIORITY, 6},
    {"SO_RCVLOWAT", SO_RCVLOWAT, 9},
    {"SO_SNDLOWAT", SO_SNDLOWAT, 9},
    {"SO_REUSEADDR", SO_REUSEADDR, 1},
    {"SO_REUSEPORT", SO_REUSEPORT, 1},
    {"SO_TYPE", SO_TYPE, 1},
    {"SO_DOMAIN", SO_DOMAIN, 1},
    {"SO_PROTOCOL", SO_PROTOCOL, 1},
    {"SO_ERROR", SO_ERROR, 1},
    {"SO_ACCEPTCONN", SO_ACCEPTCONN, 1},
    {"SO_PASSCRED", SO_PASSCRED, 1},
    {"SO_PASSSEC", 34, 1},
    {"SO_PASSPIDFD", 76, 1},
    {"SO_PASSRIGHTS", 83, 0},
    {"SO_TIMESTAMP", SO_TIMESTAMP, 1},
    {"option 4000", 4000, 1},
};

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  for (size_t i = 0; i < sizeof kOptions / sizeof *kOptions; ++i) {
    int value = kOptions[i].value;
    const int rc = setsockopt(fd, SOL_SOCKET, kOptions[i].option, &value, sizeof value);
    const int error = rc == 0 ? 0 : errno;
    value = -1;
    socklen_t length = sizeof value;
    const int back = getsockopt(fd, SOL_SOCKET, kOptions[i].option, &value, &length);
    say("%s: %s, reads %d (%s)", kOptions[i].name, error == 0 ? "ok" : strerrorname_np(error),
        value, back == 0 ? "ok" : strerrorname_np(errno));
  }
}

GUEST(server, client)
