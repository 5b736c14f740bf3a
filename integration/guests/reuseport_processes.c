// One SO_REUSEPORT listener per process, as nginx's reuseport does; one of the processes ends
// early.
#include "guest.h"

static struct where target;

static void serve_child(int listener) {
  for (;;) {
    const int fd = accept_one(listener);
    char byte = 0;
    recv_all(fd, &byte, 1);
    send_all(fd, &byte, 1);
    close(fd);
  }
}

static int reuseport_listener(void) {
  const int on = 1;
  const int fd = tcp_socket(&target);
  must("SO_REUSEPORT", setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
  must("bind", bind(fd, sa(&target), target.length));
  must("listen", listen(fd, 32));
  return fd;
}

static void server(struct where at) {
  target = at;
  const int first = reuseport_listener();
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  must("getsockname", getsockname(first, (struct sockaddr*)&own, &length));
  set_port(&target, port_of(&own));
  pid_t pids[3];
  for (int i = 0; i < 3; ++i) {
    const int listener = reuseport_listener();
    pids[i] = in_child(serve_child, listener);
    close(listener);
  }
  kill(pids[0], SIGKILL);
  reap(pids[0]);
  ready(&target, first);
  // Whoever is served here ends the program: the client says goodbye to each listener in turn.
  for (;;) {
    const int fd = accept_one(first);
    char byte = 0;
    recv_all(fd, &byte, 1);
    send_all(fd, &byte, 1);
    close(fd);
    if (byte == 'q') break;
  }
  for (int i = 1; i < 3; ++i) {
    kill(pids[i], SIGKILL);
    reap(pids[i]);
  }
}

static void client(struct where at) {
  int right = 0;
  for (int i = 0; i < 40; ++i) {
    const int fd = dial(&at);
    char byte = 'x';
    send_all(fd, &byte, 1);
    recv_all(fd, &byte, 1);
    right += byte == 'x';
    close(fd);
  }
  say("right answers: %d", right);
  // The kernel spreads clients by source port, so some of these reach the first listener.
  for (int i = 0; i < 200; ++i) {
    const int fd = tcp_socket(&at);
    if (connect(fd, sa(&at), at.length) != 0) break;
    char byte = 'q';
    send(fd, &byte, 1, MSG_NOSIGNAL);
    recv(fd, &byte, 1, 0);
    close(fd);
  }
  say("through");
}

GUEST(server, client)
