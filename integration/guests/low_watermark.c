// SO_RCVLOWAT: a blocked recv waits for that many bytes.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  const int five = 5;
  must("SO_RCVLOWAT", setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &five, sizeof five));
  tell(fd);
  char bytes[16] = {0};
  const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
  say("at least five came at once: %d", n >= 5);
  tell(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  await(fd);
  send_text(fd, "ab");
  usleep(20000);
  send_text(fd, "cdefg");
  await(fd);
}

GUEST(server, client)
