// IPV6_V6ONLY keeps IPv4 clients out, and the IPv4 port free.
#include "guest.h"

static uint16_t listen_on_v6(int* listener) {
  *listener = (int)must("socket", socket(AF_INET6, SOCK_STREAM, 0));
  const int on = 1;
  must("IPV6_V6ONLY", setsockopt(*listener, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
  struct where six = {.length = sizeof(struct sockaddr_in6)};
  six.address.ss_family = AF_INET6;
  must("bind", bind(*listener, sa(&six), six.length));
  must("listen", listen(*listener, 4));
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  must("getsockname", getsockname(*listener, (struct sockaddr*)&own, &length));
  return port_of(&own);
}

static void server(struct where at) {
  // Somebody else may have the IPv4 port by chance, but not every time.
  int listener = -1;
  bool shared = false;
  struct where four = at;
  for (int i = 0; i < 10 && !shared; ++i) {
    set_port(&four, listen_on_v6(&listener));
    shared = bind(tcp_socket(&four), sa(&four), four.length) == 0;
  }
  say("the same port on IPv4: %d", shared);
  int value = -1;
  socklen_t length = sizeof value;
  must("IPV6_V6ONLY", getsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &value, &length));
  say("reads %d", value);
  const int control = serve_one(&at);
  send_all(control, &four.port, sizeof four.port);
  await(control);
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
