// A listener is closed and another one opened on its port, in the same and in another process.
#include "guest.h"

static struct where target;

static void listen_in_child(int control) {
  const int listener = bound_at(&target);
  must("listen", listen(listener, 4));
  tell(control);
  send_text(accept_one(listener), "third");
}

static void server(struct where at) {
  const int first = listen_at(&at, 4);
  const int control = accept_one(first);
  send_text(accept_one(first), "first");
  close(first);
  const int second = bound_at(&at);
  must("listen", listen(second, 4));
  tell(control);
  send_text(accept_one(second), "second");
  close(second);
  target = at;
  reap(in_child(listen_in_child, control));
}

static void client(struct where at) {
  const int control = dial(&at);
  recv_text(dial(&at), "first");
  await(control);
  recv_text(dial(&at), "second");
  await(control);
  recv_text(dial(&at), "third");
}

GUEST(server, client)
