// accept4 sets O_NONBLOCK and close-on-exec apart, and rejects what it does not know.
#include "guest.h"

static void show_flags(int fd) {
  say("O_NONBLOCK %d FD_CLOEXEC %d", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0, fcntl(fd, F_GETFD));
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  show_flags(accept_one(listener));
  show_flags((int)must("accept4", accept4(listener, NULL, NULL, SOCK_NONBLOCK)));
  show_flags((int)must("accept4", accept4(listener, NULL, NULL, SOCK_CLOEXEC)));
  const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  show_flags(fd);
  result_fd("accept4 with bad flags", accept4(listener, NULL, NULL, 1));
  tell(fd);
}

static void client(struct where at) {
  int fd = -1;
  for (int i = 0; i < 4; ++i) fd = dial(&at);
  await(fd);
}

GUEST(server, client)
