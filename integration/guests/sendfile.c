// sendfile from a file into the connection, with an offset and without.
#include "guest.h"

#include <sys/sendfile.h>

enum { kSize = 300000 };

static void server(struct where at) {
  const int fd = serve_one(&at);
  static char bytes[kSize + 10];
  const size_t got = recv_all(fd, bytes, sizeof bytes);
  say("received %zu, sum %llx", got, (unsigned long long)checksum(kChecksumStart, bytes, got));
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int file = (int)must("memfd_create", memfd_create("data", 0));
  uint64_t state = 1;
  for (int i = 0; i < kSize / 4; ++i) {
    const uint32_t number = next_number(&state);
    must("write", write(file, &number, sizeof number));
  }
  off_t offset = 0;
  while (offset < kSize - 7)
    must("sendfile", sendfile(fd, file, &offset, (size_t)(kSize - 7 - offset)));
  must("lseek", lseek(file, kSize - 7, SEEK_SET));
  result("sendfile without offset", sendfile(fd, file, NULL, 100));
  result("sendfile at the end", sendfile(fd, file, NULL, 100));
}

GUEST(server, client)
