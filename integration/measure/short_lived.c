// One connection after the other, and one that is kept. Both ends of short_lived_test.py.
//
//   short_lived serve PORT                     echoes, one client after the other
//   short_lived connect ADDRESS PORT COUNT     so many connections of some bytes to and fro each
//   short_lived keep ADDRESS PORT              the same with one that stays until we are killed

#include <arpa/inet.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(int port) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  if (bind(listener, (struct sockaddr*)&at, sizeof at) < 0 || listen(listener, 64) < 0)
    err(1, "port %d", port);
  for (;;) {
    const int client = accept(listener, NULL, NULL);
    if (client < 0) err(1, "accept");
    char bytes[256];
    ssize_t got = 0;
    while ((got = read(client, bytes, sizeof bytes)) > 0)
      if (write(client, bytes, (size_t)got) != got) break;
    close(client);
  }
}

static int exchange(const struct sockaddr_in* to, int number) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (const struct sockaddr*)to, sizeof *to) < 0) err(1, "connection %d", number);
  char sent[32] = "";
  char got[sizeof sent];
  snprintf(sent, sizeof sent, "%d %d", getpid(), number);
  if (write(fd, sent, sizeof sent) != sizeof sent) err(1, "write %d", number);
  if (recv(fd, got, sizeof got, MSG_WAITALL) != sizeof got) err(1, "read %d", number);
  if (memcmp(sent, got, sizeof got) != 0) errx(1, "connection %d got another's bytes", number);
  return fd;
}

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "serve") == 0) serve(atoi(argv[2]));
  if (argc < 4) errx(2, "usage: short_lived serve|connect|keep ...");
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[3]))};
  if (inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) errx(2, "%s", argv[2]);
  if (strcmp(argv[1], "keep") == 0) {
    exchange(&to, 0);
    puts("kept");
    fflush(stdout);
    for (;;) pause();
  }
  const int count = argc > 4 ? atoi(argv[4]) : 1;
  for (int i = 0; i < count; ++i) close(exchange(&to, i));
  return 0;
}
