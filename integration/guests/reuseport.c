// Two SO_REUSEPORT listeners share one port; every client is served by one of them.
#include "guest.h"

static void server(struct where at) {
  int listeners[2];
  const int on = 1;
  for (int i = 0; i < 2; ++i) {
    listeners[i] = tcp_socket(&at);
    must("SO_REUSEPORT", setsockopt(listeners[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
    result("bind", bind(listeners[i], sa(&at), at.length));
    must("listen", listen(listeners[i], 32));
    if (i == 1) break;
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    must("getsockname", getsockname(listeners[0], (struct sockaddr*)&own, &length));
    set_port(&at, port_of(&own));
  }
  ready(&at, listeners[0]);
  int served = 0;
  while (served < 40) {
    struct pollfd sets[2] = {{.fd = listeners[0], .events = POLLIN},
                             {.fd = listeners[1], .events = POLLIN}};
    must("poll", poll(sets, 2, -1));
    for (int i = 0; i < 2; ++i) {
      if (sets[i].revents == 0) continue;
      const int fd = accept_one(listeners[i]);
      send_text(fd, "served");
      close(fd);
      ++served;
    }
  }
  say("served %d", served);
}

static void client(struct where at) {
  int right = 0;
  for (int i = 0; i < 40; ++i) {
    const int fd = dial(&at);
    char text[8] = {0};
    recv_all(fd, text, 6);
    right += strcmp(text, "served") == 0;
    close(fd);
  }
  say("right answers: %d", right);
}

GUEST(server, client)
