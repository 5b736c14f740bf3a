// A server that forks for each connection, and closes its own copy at once.
#include "guest.h"

static void serve_child(int fd) {
  char text[3] = {0};
  recv_all(fd, text, 2);
  for (char* c = text; *c != 0; ++c) *c = (char)(*c - 'a' + 'A');
  send_all(fd, text, 2);
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  for (int i = 0; i < 3; ++i) {
    const int fd = accept_one(listener);
    const pid_t pid = in_child(serve_child, fd);
    close(fd);
    reap(pid);
  }
  say("served three");
}

static void client(struct where at) {
  const char* texts[3] = {"ab", "cd", "ef"};
  const char* replies[3] = {"AB", "CD", "EF"};
  for (int i = 0; i < 3; ++i) {
    const int fd = dial(&at);
    send_text(fd, texts[i]);
    recv_text(fd, replies[i]);
    recv_end(fd);
    close(fd);
  }
}

GUEST(server, client)
