// MSG_ERRQUEUE finds nothing and takes nothing.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  wait_for(fd, POLLIN);
  char bytes[8];
  struct iovec part = {bytes, sizeof bytes};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  result("recvmsg MSG_ERRQUEUE", recvmsg(fd, &message, MSG_ERRQUEUE));
  recv_text(fd, "data");
}

static void client(struct where at) { send_text(dial(&at), "data"); }

GUEST(server, client)
