// A storm of signals with SA_RESTART on a process that blocks in accept: nothing is lost.
#include "storm.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 64);
  start_storm(SA_RESTART);
  int right = 0;
  for (uint32_t i = 0; i < kRounds; ++i) {
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    const int fd = (int)must("accept", accept(listener, (struct sockaddr*)&peer, &length));
    right += answer(fd, i);
  }
  stop_storm();
  say("accepted in order: %d", right);
}

static void client(struct where at) {
  int right = 0;
  for (uint32_t i = 0; i < kRounds; ++i) {
    if (i % 10 == 0) usleep(1000);  // lets the server block
    right += ask(dial(&at), i);
  }
  say("connected: %d", right);
}

GUEST(server, client)
