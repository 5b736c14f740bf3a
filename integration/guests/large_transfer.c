// 64 MiB in mixed sizes, both directions at once, with checksums.
#include "guest.h"

enum { kTotal = 64 << 20 };
static char out[300000];
static char in[300000];

static uint64_t write_stream(int fd, uint64_t seed) {
  uint64_t state = seed;
  uint64_t sum = kChecksumStart;
  for (size_t sent = 0; sent < kTotal;) {
    size_t size = 1 + next_number(&state) % (next_number(&state) % 4 == 0 ? sizeof out : 2000);
    if (size > kTotal - sent) size = kTotal - sent;
    memset(out, (int)(next_number(&state) & 0xff), size);
    memcpy(out, &state, size < sizeof state ? size : sizeof state);
    sum = checksum(sum, out, size);
    send_all(fd, out, size);
    sent += size;
  }
  return sum;
}

static void both_ways(int fd, uint64_t seed) {
  const pid_t pid = (pid_t)must("fork", fork());
  if (pid == 0) {
    alarm(guest_seconds());
    const uint64_t sum = write_stream(fd, seed);
    must("shutdown", shutdown(fd, SHUT_WR));
    say("sent, sum %016llx", (unsigned long long)sum);
    _exit(0);
  }
  uint64_t sum = kChecksumStart;
  size_t total = 0;
  ssize_t n;
  while ((n = must("recv", recv(fd, in, sizeof in, 0))) > 0) {
    sum = checksum(sum, in, (size_t)n);
    total += (size_t)n;
  }
  reap(pid);
  say("received %zu, sum %016llx", total, (unsigned long long)sum);
}

static void server(struct where at) { both_ways(serve_one(&at), 11); }
static void client(struct where at) { both_ways(dial(&at), 22); }

GUEST(server, client)
