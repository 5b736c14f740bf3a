// Several messages in one call; on a stream only their bytes count.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "onetwothree");
  tell(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const char* texts[3] = {"one", "two", "three"};
  struct mmsghdr messages[3] = {0};
  struct iovec parts[3];
  for (int i = 0; i < 3; ++i) {
    parts[i] = (struct iovec){(void*)texts[i], strlen(texts[i])};
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  result("sendmmsg", sendmmsg(fd, messages, 3, 0));
  say("lengths %u %u %u", messages[0].msg_len, messages[1].msg_len, messages[2].msg_len);
  char byte;
  parts[0] = (struct iovec){&byte, 1};
  result("recvmmsg", recvmmsg(fd, messages, 1, 0, NULL));
}

GUEST(server, client)
