// splice from the connection through a pipe and back into it.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  int ends[2];
  must("pipe", pipe(ends));
  size_t total = 0;
  for (;;) {
    const ssize_t n = must("splice in", splice(fd, NULL, ends[1], NULL, 65536, SPLICE_F_MOVE));
    if (n == 0) break;
    for (ssize_t left = n; left > 0;)
      left -= must("splice out", splice(ends[0], NULL, fd, NULL, (size_t)left, SPLICE_F_MORE));
    total += (size_t)n;
  }
  say("echoed %zu", total);
}

static void client(struct where at) {
  const int fd = dial(&at);
  static char out[200000];
  static char in[sizeof out];
  uint64_t state = 2;
  for (size_t i = 0; i < sizeof out; ++i) out[i] = (char)next_number(&state);
  const pid_t pid = fork();
  if (pid == 0) {
    send_all(fd, out, sizeof out);
    must("shutdown", shutdown(fd, SHUT_WR));
    _exit(0);
  }
  const size_t got = recv_all(fd, in, sizeof in);
  say("got %zu, the same: %d", got, memcmp(in, out, sizeof in) == 0);
  recv_end(fd);
  reap(pid);
}

GUEST(server, client)
