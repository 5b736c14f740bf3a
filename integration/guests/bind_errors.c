// What bind refuses.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  struct sockaddr_in four = {.sin_family = AF_INET};
  inet_pton(AF_INET, "192.0.2.77", &four.sin_addr);
  result("a foreign address", bind(fd, (struct sockaddr*)&four, sizeof four));
  four.sin_addr.s_addr = INADDR_ANY;
  result("a short length", bind(fd, (struct sockaddr*)&four, 8));
  result("a bad pointer", bind(fd, (struct sockaddr*)16, sizeof four));
  four.sin_family = AF_UNIX;
  result("another family", bind(fd, (struct sockaddr*)&four, sizeof four));
  four.sin_family = AF_INET;
  result("port 0", bind(fd, (struct sockaddr*)&four, sizeof four));
  result("bind again", bind(fd, (struct sockaddr*)&four, sizeof four));
  result("bad descriptor", bind(-1, (struct sockaddr*)&four, sizeof four));
  must("connect", connect(fd, sa(&at), at.length));
  result("bind when connected", bind(fd, (struct sockaddr*)&four, sizeof four));
}

GUEST(server, client)
