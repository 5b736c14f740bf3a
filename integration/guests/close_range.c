// Descriptors closed wholesale, as daemons do, end their connections; the kept one lives.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int one = accept_one(listener);
  const int two = accept_one(listener);
  recv_end(two);
  recv_text(one, "kept");
}

static void client(struct where at) {
  const int one = dial(&at);
  const int two = dial(&at);
  result("close_range", close_range((unsigned)one + 1, ~0U, 0));
  result("F_GETFD", fcntl(two, F_GETFD));
  send_text(one, "kept");
}

GUEST(server, client)
