// A server on 0.0.0.0: the listener is called so, the accepted connection by the real address.
#include "guest.h"

static void server(struct where at) {
  struct where any = at;
  ((struct sockaddr_in*)&any.address)->sin_addr.s_addr = INADDR_ANY;
  const int listener = listen_at(&any, 4);
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  must("getsockname", getsockname(listener, (struct sockaddr*)&name, &length));
  say("listener %s", show(&any, &name));
  const int fd = accept_one(listener);
  must("getsockname", getsockname(fd, (struct sockaddr*)&name, &length));
  say("connection %s", show(&any, &name));
  struct sockaddr_storage dialled;
  recv_all(fd, &dialled, length);
  say("as the client dialled it: %d", memcmp(&dialled, &name, length) == 0);
}

static void client(struct where at) {
  const int fd = dial(&at);
  send_all(fd, &at.address, at.length);
  recv_end(fd);
}

GUEST(server, client)
