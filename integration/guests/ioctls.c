// Other ioctls on a connection.
#include <net/if.h>

#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  int on = 1;
  result("FIONBIO", ioctl(fd, FIONBIO, &on));
  say("O_NONBLOCK %d", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
  on = 0;
  result("FIONBIO off", ioctl(fd, FIONBIO, &on));
  result("FIOCLEX", ioctl(fd, FIOCLEX));
  say("FD_CLOEXEC %d", fcntl(fd, F_GETFD));
  result("FIONCLEX", ioctl(fd, FIONCLEX));
  struct ifreq request = {.ifr_name = "lo"};
  result("SIOCGIFADDR", ioctl(fd, 0x8915, &request));
  say("lo is 127.0.0.1: %d",
      ((struct sockaddr_in*)&request.ifr_addr)->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
  result("SIOCGIFINDEX", ioctl(fd, 0x8933, &request));
  struct timeval stamp;
  result("SIOCGSTAMP", ioctl(fd, 0x8906, &stamp));
  result("TIOCGWINSZ", ioctl(fd, 0x5413, &request));
  result("nonsense", ioctl(fd, 0x4711, &request));
}

GUEST(server, client)
