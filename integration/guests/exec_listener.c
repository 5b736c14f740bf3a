// A listener handed over by exec, with the port it already has.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int copy = (int)must("dup2", dup2(listener, 3 == listener ? 4 : 3));
  close(listener);
  char number[16];
  snprintf(number, sizeof number, "%d", copy);
  must("execl", execl("/proc/self/exe", "exec_listener", "executed", number, (char*)NULL));
}

static void client(struct where at) {
  const int fd = dial(&at);
  recv_text(fd, "executed");
}

int main(int argc, char** argv) {
  if (argc < 3 || strcmp(argv[1], "executed") != 0) return guest_main(argc, argv, server, client);
  guest_role = "server";
  const int listener = atoi(argv[2]);
  int listening = 0;
  socklen_t length = sizeof listening;
  result("SO_ACCEPTCONN", getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length));
  say("listening %d", listening);
  send_text(accept_one(listener), "executed");
  return 0;
}
