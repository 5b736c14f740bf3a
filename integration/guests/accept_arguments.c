// The address arguments of accept: none, too short, length 0, negative, unreadable.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  unsigned char bytes[32];
  memset(bytes, 0x5a, sizeof bytes);
  socklen_t length = 6;
  close((int)must("accept", accept(listener, (struct sockaddr*)bytes, &length)));
  say("short: length %u, byte 6 untouched %d", length, bytes[6] == 0x5a);
  length = 0;
  close((int)must("accept", accept(listener, (struct sockaddr*)bytes, &length)));
  say("empty: length %u", length);
  close((int)must("accept", accept(listener, NULL, NULL)));
  close((int)must("accept", accept(listener, NULL, (socklen_t*)16)));
  say("no address: the length is not looked at");
  length = (socklen_t)-1;
  result_fd("negative length", accept(listener, (struct sockaddr*)bytes, &length));
  length = sizeof bytes;
  result_fd("bad address", accept(listener, (struct sockaddr*)16, &length));
  result_fd("bad length pointer", accept(listener, (struct sockaddr*)bytes, (socklen_t*)16));
  result_fd("the next client", accept(listener, NULL, NULL));
  tell((int)must("accept", accept(listener, NULL, NULL)));
}

static void client(struct where at) {
  int fd = -1;
  for (int i = 0; i < 9; ++i) fd = dial(&at);
  await(fd);
}

GUEST(server, client)
