// SOCK_CLOEXEC set at birth survives the connect: exec closes the connection, the peer sees the
// end.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "before");
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = (int)must("socket", socket(at.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  must("connect", connect(fd, sa(&at), at.length));
  say("FD_CLOEXEC %d", fcntl(fd, F_GETFD));
  send_text(fd, "before");
  char number[16];
  snprintf(number, sizeof number, "%d", fd);
  must("execl", execl("/proc/self/exe", "exec_closes", "executed", number, (char*)NULL));
}

int main(int argc, char** argv) {
  if (argc < 3 || strcmp(argv[1], "executed") != 0) return guest_main(argc, argv, server, client);
  guest_role = "client";
  result("F_GETFD", fcntl(atoi(argv[2]), F_GETFD));
  return 0;
}
