// listen may be called again to change the backlog; a full backlog still lets clients through
// later.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 1);
  result("listen with 16", listen(listener, 16));
  result("listen with 0", listen(listener, 0));
  result("listen with -1", listen(listener, -1));
  const int control = accept_one(listener);
  await(control);
  int right = 0;
  for (int i = 0; i < 8; ++i) {
    char byte = 0;
    recv_all(accept_one(listener), &byte, 1);
    right += byte == 'x';
  }
  say("accepted %d", right);
}

static void client(struct where at) {
  const int control = dial(&at);
  for (int i = 0; i < 8; ++i) send_text(dial(&at), "x");
  tell(control);
  recv_end(control);
}

GUEST(server, client)
