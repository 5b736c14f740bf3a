// sendmsg and recvmsg with several parts; no address, no control data and no flags come with TCP.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  char one[3] = {0};
  char two[8] = {0};
  struct sockaddr_storage name;
  char control[64];
  struct iovec parts[2] = {{one, 2}, {two, 4}};
  struct msghdr message = {.msg_name = &name,
                           .msg_namelen = sizeof name,
                           .msg_iov = parts,
                           .msg_iovlen = 2,
                           .msg_control = control,
                           .msg_controllen = sizeof control};
  result("recvmsg", recvmsg(fd, &message, MSG_WAITALL));
  say("\"%s\" \"%s\" name %d control %d flags %d", one, two, (int)message.msg_namelen,
      (int)message.msg_controllen, message.msg_flags & ~MSG_CMSG_CLOEXEC);
  tell(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  struct iovec parts[3] = {{"ab", 2}, {"c", 1}, {"def", 3}};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
  result("sendmsg", sendmsg(fd, &message, 0));
  await(fd);
}

GUEST(server, client)
