// A connection is passed to a child over an AF_UNIX socket pair and used there.
#include "guest.h"

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

static void use_in_child(int channel) {
  char byte;
  char control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  must("recvmsg", recvmsg(channel, &message, 0));
  int fd = -1;
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  send_text(fd, "from the receiver");
  recv_text(fd, "reply");
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  result("getpeername", getpeername(fd, (struct sockaddr*)&peer, &length));
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "from the receiver");
  send_text(fd, "reply");
  recv_end(fd);
}

static void client(struct where at) {
  int channel[2];
  must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, channel));
  const pid_t pid = in_child(use_in_child, channel[1]);
  const int fd = dial(&at);
  send_descriptor(channel[0], fd);
  close(fd);
  reap(pid);
}

GUEST(server, client)
