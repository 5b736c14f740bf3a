// One signal ends a blocked recv with EINTR; with SA_RESTART it goes on.
#include "guest.h"

static volatile sig_atomic_t handled;
static void on_signal(int number) { handled = number; }

static void kill_parent(int fd) {
  char byte;
  recv_all(fd, &byte, 1);  // the end of the connection below: the parent is about to block
  for (int i = 0; i < 20; ++i) {
    usleep(5000);
    kill(getppid(), SIGUSR1);
  }
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  await(fd);
  send_text(fd, "data");
}

static void client(struct where at) {
  const int fd = dial(&at);
  int start[2];
  must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, start));
  const pid_t pid = in_child(kill_parent, start[1]);
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGUSR1, &action, NULL);
  tell(start[0]);
  char byte;
  result("recv", recv(fd, &byte, 1, 0));
  say("handled: %d", handled == SIGUSR1);
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, NULL);
  tell(fd);
  recv_text(fd, "data");
  reap(pid);
}

GUEST(server, client)
