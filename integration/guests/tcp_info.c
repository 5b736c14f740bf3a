// The state in TCP_INFO over the life of a connection.
#include "guest.h"

static void show_state(int fd, const char* when) {
  static const char* kStates[] = {"?",          "ESTABLISHED", "SYN_SENT",  "SYN_RECV",
                                  "FIN_WAIT1",  "FIN_WAIT2",   "TIME_WAIT", "CLOSE",
                                  "CLOSE_WAIT", "LAST_ACK",    "LISTEN",    "CLOSING"};
  struct tcp_info info = {0};
  socklen_t length = sizeof info;
  must("TCP_INFO", getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
  say("%s: %s, whole structure %d, plausible mss %d", when,
      info.tcpi_state < 12 ? kStates[info.tcpi_state] : "?", length == sizeof info,
      info.tcpi_state != 1 || info.tcpi_snd_mss > 500);
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  show_state(listener, "listener");
  const int fd = accept_one(listener);
  show_state(fd, "accepted");
  tell(fd);
  recv_text(fd, "x");
  recv_end(fd);
  show_state(fd, "peer has finished");
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  show_state(fd, "fresh");
  must("connect", connect(fd, sa(&at), at.length));
  show_state(fd, "connected");
  await(fd);
  send_text(fd, "x");
  must("shutdown", shutdown(fd, SHUT_WR));
  recv_end(fd);
}

GUEST(server, client)
