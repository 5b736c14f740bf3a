// FIONREAD, SIOCINQ, SIOCOUTQ, SIOCOUTQNSD: how much waits on either side.
#include "guest.h"

#include <linux/sockios.h>

static int queued(int fd, unsigned long request, const char* name) {
  int bytes = -1;
  if (ioctl(fd, request, &bytes) != 0) result(name, -1);
  return bytes;
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int fd = accept_one(listener);
  const int control = accept_one(listener);
  say("nothing: %d", queued(fd, FIONREAD, "FIONREAD"));
  tell(control);
  await(control);
  char bytes[100];
  recv_all(fd, bytes, 10);
  say("after 10 of 1510: FIONREAD %d", queued(fd, FIONREAD, "FIONREAD"));
  int value = -1;
  result("FIONREAD of a listener", ioctl(listener, FIONREAD, &value));
  tell(control);
  recv_end(control);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int control = dial(&at);
  static char bytes[1510];
  await(control);
  send_all(fd, bytes, sizeof bytes);
  tell(control);
  await(control);
  // TCP's own acknowledgement may be late; an application that polls for 0 must see it come.
  for (int i = 0; i < 2000 && queued(fd, SIOCOUTQ, "SIOCOUTQ") != 0; ++i) usleep(1000);
  say("SIOCOUTQ %d", queued(fd, SIOCOUTQ, "SIOCOUTQ"));
  say("SIOCOUTQNSD %d", queued(fd, SIOCOUTQNSD, "SIOCOUTQNSD"));
}

GUEST(server, client)
