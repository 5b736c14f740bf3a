// IPV6_V6ONLY keeps IPv4 clients out, and the IPv4 port free.
#include "guest.h"

static void server(struct where at) {
  const int fd = (int)must("socket", socket(AF_INET6, SOCK_STREAM, 0));
  const int on = 1;
  result("IPV6_V6ONLY", setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
  struct where six = {.length = sizeof(struct sockaddr_in6)};
  six.address.ss_family = AF_INET6;
  must("bind", bind(fd, sa(&six), six.length));
  must("listen", listen(fd, 4));
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  must("getsockname", getsockname(fd, (struct sockaddr*)&own, &length));
  const uint16_t port = port_of(&own);
  const int control = serve_one(&at);
  send_all(control, &port, sizeof port);
  await(control);
  struct where four = at;
  set_port(&four, port);
  const int same_port = tcp_socket(&four);
  result("the same port on IPv4", bind(same_port, sa(&four), four.length));
  int value = -1;
  length = sizeof value;
  must("IPV6_V6ONLY", getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, &length));
  say("reads %d", value);
}

static void client(struct where at) {
  const int control = dial(&at);
  uint16_t port = 0;
  recv_all(control, &port, sizeof port);
  struct where four = at;
  set_port(&four, port);
  const int fd = tcp_socket(&four);
  result("connect over IPv4", connect(fd, sa(&four), four.length));
  tell(control);
}

GUEST(server, client)
