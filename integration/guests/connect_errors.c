// What connect refuses before it looks for anyone.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "after all");
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  struct sockaddr_storage other = at.address;
  result("bad descriptor", connect(-1, sa(&at), at.length));
  result("not a socket", connect(open("/dev/null", O_RDWR), sa(&at), at.length));
  result("short length", connect(fd, sa(&at), 4));
  result("length 1", connect(fd, sa(&at), 1));
  result("length 0", connect(fd, sa(&at), 0));
  result("huge length", connect(fd, sa(&at), 4096));
  result("negative length", connect(fd, sa(&at), (socklen_t)-1));
  result("bad pointer", connect(fd, (struct sockaddr*)16, at.length));
  result("no pointer", connect(fd, NULL, at.length));
  other.ss_family = AF_UNIX;
  result("another family", connect(fd, (struct sockaddr*)&other, at.length));
  result("longer than needed", connect(fd, sa(&at), sizeof at.address));
  send_text(fd, "after all");
}

GUEST(server, client)
