// Writing without blocking until EAGAIN, then draining: what was taken arrives, in order.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int fd = accept_one(listener);
  const int control = accept_one(listener);
  uint64_t sent = 0;
  recv_all(control, &sent, sizeof sent);
  uint64_t position = 0;
  bool in_order = true;
  uint32_t block[4096];
  while (position < sent) {
    const size_t n = recv_all(fd, block, sizeof block);
    if (n == 0) break;
    for (size_t i = 0; i < n / 4; ++i) in_order = in_order && block[i] == position / 4 + i;
    position += n;
  }
  say("all came: %d, in order: %d", position == sent, in_order);
  tell(control);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int control = dial(&at);
  set_nonblocking(fd);
  uint32_t block[4096];
  uint64_t sent = 0;
  size_t begun = 0;  // bytes of the block that the kernel took of a partial write
  for (;;) {
    for (size_t i = 0; i < 4096; ++i) block[i] = (uint32_t)(sent / sizeof block * 4096 + i);
    const ssize_t n = send(fd, (char*)block + begun, sizeof block - begun, 0);
    if (n < 0) break;
    begun = (begun + (size_t)n) % sizeof block;
    sent += (uint64_t)n;
  }
  say("full: %s, writable: %d", strerrorname_np(errno), events_now(fd, POLLOUT) & POLLOUT);
  const size_t rest = begun == 0 ? 0 : sizeof block - begun;
  const uint64_t total = sent + rest;
  send_all(control, &total, sizeof total);
  send_all(fd, (char*)block + begun, rest);
  await(control);
  say("drained: %s", event_names((unsigned)wait_for(fd, POLLOUT)));
}

GUEST(server, client)
