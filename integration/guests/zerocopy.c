// MSG_ZEROCOPY with completions from the error queue.
#include "guest.h"

#include <linux/errqueue.h>

static void server(struct where at) {
  const int fd = serve_one(&at);
  static char bytes[100000];
  const size_t got = recv_all(fd, bytes, sizeof bytes);
  say("received %zu, sum %016llx", got, (unsigned long long)checksum(kChecksumStart, bytes, got));
  tell(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  const int on = 1;
  result("SO_ZEROCOPY", setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on));
  must("connect", connect(fd, sa(&at), at.length));
  static char bytes[100000];
  memset(bytes, 'z', sizeof bytes);
  result("send", send(fd, bytes, sizeof bytes, MSG_ZEROCOPY));
  await(fd);
  wait_for(fd, 0);
  char control[128];
  struct msghdr message = {.msg_control = control, .msg_controllen = sizeof control};
  result("recvmsg MSG_ERRQUEUE", recvmsg(fd, &message, MSG_ERRQUEUE));
  const struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  const struct sock_extended_err* report = (const void*)CMSG_DATA(header);
  say("origin zerocopy: %d, from %u to %u", report->ee_origin == SO_EE_ORIGIN_ZEROCOPY,
      report->ee_info, report->ee_data);
}

GUEST(server, client)
