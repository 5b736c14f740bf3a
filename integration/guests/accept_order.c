// Pending connections are accepted in the order in which they came, with what they sent.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int control = accept_one(listener);
  await(control);
  for (int i = 0; i < 5; ++i) {
    const int fd = accept_one(listener);
    char byte = 0;
    recv_all(fd, &byte, 1);
    say("%d is %c", i, byte);
    recv_end(fd);
    close(fd);
  }
}

static void client(struct where at) {
  const int control = dial(&at);
  for (int i = 0; i < 5; ++i) {
    const int fd = dial(&at);
    send_all(fd, &"abcde"[i], 1);
    close(fd);
  }
  tell(control);
}

GUEST(server, client)
