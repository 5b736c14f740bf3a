// Descriptors cannot be passed over TCP: the attempt sends the data and nothing else.
#include "passing.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  char byte = 0;
  char control[64];
  struct iovec part = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  result("recvmsg", recvmsg(fd, &message, 0));
  say("byte %c, control %d", byte, (int)message.msg_controllen);
  tell(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const long sent = send_with_descriptor(fd, open("/dev/null", O_RDONLY));
  result("sendmsg", sent);
  if (sent < 0) send_text(fd, "x");
  await(fd);
}

GUEST(server, client)
