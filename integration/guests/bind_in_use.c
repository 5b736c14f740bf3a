// A port that is taken: EADDRINUSE with and without SO_REUSEADDR, wildcard against specific.
#include "guest.h"

static void try_bind(const struct where* at, int reuse, bool any, const char* what) {
  const int fd = tcp_socket(at);
  must("SO_REUSEADDR", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse));
  struct where copy = *at;
  if (any) ((struct sockaddr_in*)&copy.address)->sin_addr.s_addr = INADDR_ANY;
  result(what, bind(fd, sa(&copy), copy.length));
  close(fd);
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  try_bind(&at, 0, false, "the same address");
  try_bind(&at, 1, false, "the same address, SO_REUSEADDR");
  try_bind(&at, 0, true, "any address");
  try_bind(&at, 1, true, "any address, SO_REUSEADDR");
  const int fd = accept_one(listener);
  close(listener);
  try_bind(&at, 0, false, "with only a connection left");
  try_bind(&at, 1, false, "the same, SO_REUSEADDR");
  tell(fd);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  await(fd);
}

GUEST(server, client)
