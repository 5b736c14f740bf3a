// Options of level IP on a connection.
#include "guest.h"

static const struct {
  const char* name;
  int option;
  int value;
} kOptions[] = {
    {"IP_TOS", IP_TOS, 0x08},
    {"IP_TTL", IP_TTL, 44},
    {"IP_TTL of -1", IP_TTL, -1},
    {"IP_TTL of 256", IP_TTL, 256},
    {"IP_MTU_DISCOVER", IP_MTU_DISCOVER, IP_PMTUDISC_DONT},
    {"IP_RECVERR", IP_RECVERR, 1},
    {"IP_RECVTOS", IP_RECVTOS, 1},
    {"IP_FREEBIND", IP_FREEBIND, 1},
    {"IP_BIND_ADDRESS_NO_PORT", IP_BIND_ADDRESS_NO_PORT, 1},
    {"IP_PKTINFO", IP_PKTINFO, 1},
    {"IP_HDRINCL", IP_HDRINCL, 1},
    {"an unknown option", 199, 1},
    {"IPV6_V6ONLY on IPv4", 1000, 1},
};

static void set_and_show(int fd, const char* when) {
  for (size_t i = 0; i < sizeof kOptions / sizeof *kOptions; ++i) {
    int value = kOptions[i].value;
    const int rc = setsockopt(fd, IPPROTO_IP, kOptions[i].option, &value, sizeof value);
    const int error = rc == 0 ? 0 : errno;
    value = -1;
    socklen_t length = sizeof value;
    const int back = getsockopt(fd, IPPROTO_IP, kOptions[i].option, &value, &length);
    say("%s %s: %s, reads %d (%s)", when, kOptions[i].name,
        error == 0 ? "ok" : strerrorname_np(error), value,
        back == 0 ? "ok" : strerrorname_np(errno));
  }
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  set_and_show(fd, "connected");
  int value = 1;
  result("level IPv6 on IPv4", setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, sizeof value));
  result("level 77", setsockopt(fd, 77, 1, &value, sizeof value));
  socklen_t length = sizeof value;
  result("level 77, get", getsockopt(fd, 77, 1, &value, &length));
}

GUEST(server, client)
