// A storm of signals with SA_RESTART on a process that blocks in accept: nothing is lost.
#include "guest.h"
#include "storm.h"

enum { kRounds = 200 };

static void server(struct where at) {
  const int listener = listen_at(&at, 64);
  start_storm(SA_RESTART);
  int right = 0;
  for (int i = 0; i < kRounds; ++i) {
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    const int fd = (int)must("accept", accept(listener, (struct sockaddr*)&peer, &length));
    uint32_t number = 0;
    recv_all(fd, &number, sizeof number);
    right += number == (uint32_t)i;
    send_all(fd, &number, sizeof number);
    close(fd);
  }
  stop_storm();
  say("accepted in order: %d", right);
}

static void client(struct where at) {
  int right = 0;
  for (uint32_t i = 0; i < kRounds; ++i) {
    if (i % 10 == 0) usleep(1000);  // lets the server block
    const int fd = dial(&at);
    uint32_t number = i;
    send_all(fd, &number, sizeof number);
    recv_all(fd, &number, sizeof number);
    right += number == i;
    close(fd);
  }
  say("connected: %d", right);
}

GUEST(server, client)
