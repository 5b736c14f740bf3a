// A socket passed over AF_UNIX before it is connected: the receiver connects, the sender uses it.
#include "passing.h"

static struct where target;

static void connect_in_child(int channel) {
  const int fd = receive_descriptor(channel);
  result("connect by the receiver", connect(fd, sa(&target), target.length));
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "from the sender");
  recv_end(fd);
}

static void client(struct where at) {
  target = at;
  int channel[2];
  must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, channel));
  const int fd = tcp_socket(&at);
  const pid_t pid = in_child(connect_in_child, channel[1]);
  must("sendmsg", send_with_descriptor(channel[0], fd));
  reap(pid);
  send_text(fd, "from the sender");
}

GUEST(server, client)
