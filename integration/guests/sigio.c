// O_ASYNC and F_SETOWN, set before the connect: arriving data raises SIGIO.
#include "guest.h"

static volatile sig_atomic_t signals;
static void on_signal(int number) { signals += number == SIGIO; }

static void server(struct where at) {
  const int fd = serve_one(&at);
  await(fd);
  send_text(fd, "data");
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  must("F_SETOWN", fcntl(fd, F_SETOWN, getpid()));
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGIO, &action, NULL);
  must("F_SETFL", fcntl(fd, F_SETFL, O_ASYNC));
  must("connect", connect(fd, sa(&at), at.length));
  say("owner kept: %d, O_ASYNC kept: %d", fcntl(fd, F_GETOWN) == getpid(),
      (fcntl(fd, F_GETFL) & O_ASYNC) != 0);
  signals = 0;
  tell(fd);
  // Nobody may be blocked in recv: the kernel then has no need of the signal.
  for (int i = 0; i < 500 && signals == 0; ++i) usleep(10000);
  say("signalled: %d", signals > 0);
  recv_text(fd, "data");
}

GUEST(server, client)
