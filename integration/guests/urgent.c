// Out-of-band data: announced, read apart from the stream, and the mark.
#include "guest.h"

#include <linux/sockios.h>

static void server(struct where at) {
  const int fd = serve_one(&at);
  char byte = 0;
  result("MSG_OOB without any", recv(fd, &byte, 1, MSG_OOB));
  tell(fd);
  say("poll: %s", event_names((unsigned)wait_for(fd, POLLPRI) & POLLPRI));
  await(fd);
  result("MSG_OOB", recv(fd, &byte, 1, MSG_OOB));
  say("urgent byte %c", byte);
  result("MSG_OOB twice", recv(fd, &byte, 1, MSG_OOB));
  int at_mark = -1;
  must("SIOCATMARK", ioctl(fd, SIOCATMARK, &at_mark));
  say("before the mark: %d", at_mark);
  char bytes[16] = {0};
  result("recv stops at the mark", recv(fd, bytes, sizeof bytes, 0));
  must("SIOCATMARK", ioctl(fd, SIOCATMARK, &at_mark));
  say("at the mark: %d", at_mark);
  recv_text(fd, "after");
  tell(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  await(fd);
  send_text(fd, "!before");
  result("send MSG_OOB", send(fd, "U", 1, MSG_OOB));
  send_text(fd, "after");
  await(fd);
}

GUEST(server, client)
