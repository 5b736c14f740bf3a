// Options of level TCP, each set and read back, before and after the connect.
#include "guest.h"

static const struct {
  const char* name;
  int option;
  int value;
} kOptions[] = {
    {"TCP_NODELAY", TCP_NODELAY, 1},        {"TCP_CORK", TCP_CORK, 1},
    {"TCP_KEEPIDLE", TCP_KEEPIDLE, 33},     {"TCP_KEEPINTVL", TCP_KEEPINTVL, 7},
    {"TCP_KEEPCNT", TCP_KEEPCNT, 4},        {"TCP_USER_TIMEOUT", TCP_USER_TIMEOUT, 12000},
    {"TCP_SYNCNT", TCP_SYNCNT, 3},          {"TCP_LINGER2", TCP_LINGER2, 20},
    {"TCP_NOTSENT_LOWAT", 25, 16384},       {"TCP_INQ", 36, 1},
    {"TCP_THIN_LINEAR_TIMEOUTS", 16, 1},    {"TCP_KEEPCNT too large", TCP_KEEPCNT, 1000},
    {"TCP_KEEPIDLE of 0", TCP_KEEPIDLE, 0}, {"TCP_USER_TIMEOUT of -1", TCP_USER_TIMEOUT, -1},
    {"an unknown option", 999, 1},
};

static void set_and_show(int fd, const char* when) {
  for (size_t i = 0; i < sizeof kOptions / sizeof *kOptions; ++i) {
    const int option = kOptions[i].option;
    int value = kOptions[i].value;
    const int rc = setsockopt(fd, IPPROTO_TCP, option, &value, sizeof value);
    const int error = rc == 0 ? 0 : errno;
    value = -1;
    socklen_t length = sizeof value;
    const int back = getsockopt(fd, IPPROTO_TCP, option, &value, &length);
    say("%s %s: %s, reads %d (%s)", when, kOptions[i].name,
        error == 0 ? "ok" : strerrorname_np(error), value,
        back == 0 ? "ok" : strerrorname_np(errno));
  }
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  set_and_show(fd, "accepted");
  tell(fd);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  set_and_show(fd, "fresh");
  must("connect", connect(fd, sa(&at), at.length));
  set_and_show(fd, "connected");
  await(fd);
}

GUEST(server, client)
