// The same without SA_RESTART: accept says EINTR, and the connection waits for the next accept.
#include "storm.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 64);
  start_storm(0);
  int right = 0;
  bool interrupted = false;
  for (uint32_t i = 0; i < kRounds;) {
    const int fd = accept(listener, NULL, NULL);
    if (fd < 0 && errno == EINTR) {
      interrupted = true;
      continue;
    }
    must("accept", fd);
    right += answer(fd, i++);
  }
  stop_storm();
  say("accepted in order: %d, interrupted at least once: %d", right, interrupted);
}

static void client(struct where at) {
  int right = 0;
  for (uint32_t i = 0; i < kRounds; ++i) {
    if (i % 10 == 0) usleep(5000);  // lets the server block
    right += ask(dial(&at), i);
  }
  say("connected: %d", right);
}

GUEST(server, client)
