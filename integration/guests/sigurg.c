// F_SETOWN and urgent data: SIGURG arrives.
#include "guest.h"

static volatile sig_atomic_t signals;
static void on_signal(int number) { signals += number == SIGURG; }

static void server(struct where at) {
  const int fd = serve_one(&at);
  await(fd);
  result("send MSG_OOB", send(fd, "u", 1, MSG_OOB));
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  must("F_SETOWN", fcntl(fd, F_SETOWN, getpid()));
  signal(SIGURG, on_signal);
  must("connect", connect(fd, sa(&at), at.length));
  say("owner kept: %d", fcntl(fd, F_GETOWN) == getpid());
  tell(fd);
  for (int i = 0; i < 500 && signals == 0; ++i) usleep(10000);
  say("signalled: %d", signals > 0);
  char byte = 0;
  result("recv MSG_OOB", recv(fd, &byte, 1, MSG_OOB));
}

GUEST(server, client)
