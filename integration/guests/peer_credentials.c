// TCP knows no credentials of the peer.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  struct ucred who = {1, 1, 1};
  socklen_t length = sizeof who;
  result("SO_PEERCRED", getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length));
  say("pid %d uid %d gid %d length %u", who.pid, (int)who.uid, (int)who.gid, length);
  length = 4;
  result("4 bytes of it", getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length));
  say("length %u", length);
  tell(fd);
}

static void client(struct where at) { await(dial(&at)); }

GUEST(server, client)
