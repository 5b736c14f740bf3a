// A socket passed over AF_UNIX before it is connected: the receiver connects, the sender uses it.
#include "guest.h"

static struct where target;

static void send_descriptor(int channel, int fd) {
  char control[CMSG_SPACE(sizeof fd)] = {0};
  struct iovec part = {"x", 1};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  must("sendmsg", sendmsg(channel, &message, 0));
}

static void connect_in_child(int channel) {
  char byte;
  char control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  must("recvmsg", recvmsg(channel, &message, 0));
  int fd = -1;
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
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
  send_descriptor(channel[0], fd);
  reap(pid);
  send_text(fd, "from the sender");
}

GUEST(server, client)
