// A listener is closed while clients wait in its queue: they are reset.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int control = accept_one(listener);
  await(control);
  close(listener);
  tell(control);
  recv_end(control);
}

static void client(struct where at) {
  const int control = dial(&at);
  const int one = dial(&at);
  const int two = dial(&at);
  send_text(two, "unheard");
  tell(control);
  await(control);
  char byte;
  result("recv", recv(one, &byte, 1, 0));
  result("recv after sending", recv(two, &byte, 1, 0));
  result("send", send(one, "x", 1, MSG_NOSIGNAL));
  const int late = tcp_socket(&at);
  result("connect", connect(late, sa(&at), at.length));
}

GUEST(server, client)
