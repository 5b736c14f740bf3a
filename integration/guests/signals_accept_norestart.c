// The same without SA_RESTART: accept says EINTR, and the connection waits for the next accept.
#include "guest.h"
#include "storm.h"

enum { kRounds = 200 };

static void server(struct where at) {
  const int listener = listen_at(&at, 64);
  start_storm(0);
  int right = 0;
  bool interrupted = false;
  for (int i = 0; i < kRounds;) {
    const int fd = accept(listener, NULL, NULL);
    if (fd < 0 && errno == EINTR) {
      interrupted = true;
      continue;
    }
    must("accept", fd);
    uint32_t number = 0;
    recv_all(fd, &number, sizeof number);
    right += number == (uint32_t)i++;
    send_all(fd, &number, sizeof number);
    close(fd);
  }
  stop_storm();
  say("accepted in order: %d, interrupted at least once: %d", right, interrupted);
}

static void client(struct where at) {
  int right = 0;
  for (uint32_t i = 0; i < kRounds; ++i) {
    if (i % 10 == 0) usleep(5000);  // lets the server block
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
