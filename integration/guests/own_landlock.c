// A program that forbids itself every connect but to one port (Landlock) is held to it.
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "guest.h"

#ifndef LANDLOCK_ACCESS_NET_CONNECT_TCP
#define LANDLOCK_ACCESS_NET_CONNECT_TCP (1ULL << 1)
#endif
#define GUEST_LANDLOCK_RULE_NET_PORT 2

static void server(struct where at) {
  struct where second = at;
  set_port(&second, 0);
  const int other = bound_at(&second);
  must("listen", listen(other, 4));
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  must("getsockname", getsockname(other, (struct sockaddr*)&own, &length));
  const uint16_t port = port_of(&own);
  const int listener = listen_at(&at, 4);
  send_all(accept_one(listener), &port, sizeof port);
  recv_text(accept_one(listener), "allowed");
}

static void client(struct where at) {
  uint16_t port = 0;
  recv_all(dial(&at), &port, sizeof port);
  struct {
    uint64_t files;
    uint64_t network;
  } attributes = {0, LANDLOCK_ACCESS_NET_CONNECT_TCP};
  struct {
    uint64_t allowed;
    uint64_t port;
  } rule = {LANDLOCK_ACCESS_NET_CONNECT_TCP, at.port};
  const int rules = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
  if (rules < 0) {
    say("no Landlock for networks here");
    send_text(dial(&at), "allowed");
    return;
  }
  must("add rule", syscall(SYS_landlock_add_rule, rules, GUEST_LANDLOCK_RULE_NET_PORT, &rule, 0));
  must("PR_SET_NO_NEW_PRIVS", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  must("restrict", syscall(SYS_landlock_restrict_self, rules, 0));
  struct where other = at;
  set_port(&other, port);
  result("the other port", connect(tcp_socket(&at), sa(&other), other.length));
  const int fd = tcp_socket(&at);
  result("the allowed port", connect(fd, sa(&at), at.length));
  send_text(fd, "allowed");
}

GUEST(server, client)
