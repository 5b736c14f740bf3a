// The connection as standard input and output of an executed program.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  const pid_t pid = (pid_t)must("vfork", vfork());
  if (pid == 0) {
    dup2(fd, STDIN_FILENO);
    dup2(fd, STDOUT_FILENO);
    execl("/proc/self/exe", "inetd", "executed", (char*)NULL);
    _exit(95);
  }
  close(fd);
  reap(pid);
}

static void client(struct where at) {
  const int fd = dial(&at);
  send_text(fd, "line one\n");
  recv_text(fd, "you said: line one\n");
  recv_text(fd, "standard input is a socket with a peer\n");
  recv_end(fd);
}

int main(int argc, char** argv) {
  if (argc < 2 || strcmp(argv[1], "executed") != 0) return guest_main(argc, argv, server, client);
  char line[80];
  if (fgets(line, sizeof line, stdin) == NULL) return 1;
  printf("you said: %s", line);
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  if (getpeername(STDIN_FILENO, (struct sockaddr*)&peer, &length) == 0)
    printf("standard input is a socket with a peer\n");
  return 0;
}
