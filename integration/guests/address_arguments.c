// recvfrom's address stays empty on TCP, sendto's is ignored.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  char bytes[8] = {0};
  struct sockaddr_storage from;
  memset(&from, 0x5a, sizeof from);
  socklen_t length = sizeof from;
  result("recvfrom", recvfrom(fd, bytes, 4, MSG_WAITALL, (struct sockaddr*)&from, &length));
  say("length %u, touched %d", length, ((unsigned char*)&from)[0] != 0x5a);
  tell(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  struct where other = at;
  set_port(&other, 1);
  result("sendto", sendto(fd, "ab", 2, 0, sa(&other), other.length));
  struct iovec part = {"cd", 2};
  struct msghdr message = {
      .msg_name = &other.address, .msg_namelen = other.length, .msg_iov = &part, .msg_iovlen = 1};
  result("sendmsg", sendmsg(fd, &message, 0));
  await(fd);
}

GUEST(server, client)
