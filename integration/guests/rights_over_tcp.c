// Descriptors cannot be passed over TCP: the attempt sends the data and nothing else.
#include "guest.h"

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
  char control[CMSG_SPACE(sizeof fd)] = {0};
  struct iovec part = {"x", 1};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  const int null = open("/dev/null", O_RDONLY);
  memcpy(CMSG_DATA(header), &null, sizeof null);
  const long sent = sendmsg(fd, &message, 0);
  result("sendmsg", sent);
  if (sent < 0) send_text(fd, "x");
  await(fd);
}

GUEST(server, client)
