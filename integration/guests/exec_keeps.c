// A connection without close-on-exec goes on after exec, under the same number.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "before");
  recv_text(fd, "after");
  send_text(fd, "reply");
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  say("FD_CLOEXEC %d", fcntl(fd, F_GETFD));
  send_text(fd, "before");
  char number[16];
  snprintf(number, sizeof number, "%d", fd);
  must("execl", execl("/proc/self/exe", "exec_keeps", "executed", number, (char*)NULL));
}

int main(int argc, char** argv) {
  if (argc < 3 || strcmp(argv[1], "executed") != 0) return guest_main(argc, argv, server, client);
  guest_role = "client";
  const int fd = atoi(argv[2]);
  send_text(fd, "after");
  recv_text(fd, "reply");
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  result("getpeername", getpeername(fd, (struct sockaddr*)&peer, &length));
  return 0;
}
