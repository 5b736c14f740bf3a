// The peer is killed in the middle of a stream: the reader gets a prefix of it, intact, and an end.
#include "guest.h"

enum { kWords = 16384 };

static void write_forever(int fd) {
  static uint32_t block[kWords];
  for (uint32_t base = 0;; base += kWords) {
    for (uint32_t i = 0; i < kWords; ++i) block[i] = base + i;
    send_all(fd, block, sizeof block);
  }
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int fd = accept_one(listener);
  const int control = accept_one(listener);
  const pid_t pid = in_child(write_forever, fd);
  close(fd);
  await(control);
  kill(pid, SIGKILL);
  reap(pid);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int control = dial(&at);
  static uint32_t block[kWords];
  uint32_t next = 0;
  bool intact = true;
  bool told = false;
  for (;;) {
    size_t got = 0;
    ssize_t n = 0;
    while (got < sizeof block && (n = recv(fd, (char*)block + got, sizeof block - got, 0)) > 0)
      got += (size_t)n;
    for (size_t i = 0; i < got / 4; ++i) intact = intact && block[i] == next++;
    if (n <= 0) {
      result("at the end", n);
      break;
    }
    if (next > 20 * kWords && !told) {
      tell(control);
      told = true;
    }
  }
  say("intact: %d", intact);
}

GUEST(server, client)
