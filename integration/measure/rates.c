// Measures a pair of TCP programs: connections per second and round trips. One client, one server,
// blocking calls; prints microseconds. Interleave runs of the variants to compare, see design notes in
// README.md.
//
//   rates server ADDR PORT
//   rates client ADDR PORT connect COUNT         connect, 1 byte there and back, close
//   rates client ADDR PORT trip COUNT SIZE       round trips of SIZE bytes on one connection
//   rates client ADDR PORT stream BYTES SIZE     one way, writes of SIZE bytes, until all was read
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buffer[1 << 20];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void must(const char* what, int ok) {
  if (ok) return;
  perror(what);
  exit(1);
}

static struct sockaddr_in where(char** argv) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[3]))};
  must("address", inet_pton(AF_INET, argv[2], &at.sin_addr) == 1);
  return at;
}

static int dial(const struct sockaddr_in* at) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  must("socket", fd >= 0);
  must("connect", connect(fd, (const struct sockaddr*)at, sizeof *at) == 0);
  return fd;
}

static void receive_all(int fd, size_t size) {
  for (size_t got = 0; got < size;) {
    const ssize_t n = recv(fd, buffer, size - got < sizeof buffer ? size - got : sizeof buffer, 0);
    must("recv", n > 0);
    got += (size_t)n;
  }
}

static void send_all(int fd, size_t size) {
  for (size_t put = 0; put < size;) {
    const ssize_t n = send(fd, buffer, size - put, MSG_NOSIGNAL);
    must("send", n > 0);
    put += (size_t)n;
  }
}

// The first bytes of a connection say what it is for: 'e' and a size echoes messages of that size,
// 's' and a total swallows that many bytes and answers with one.
struct order {
  long long amount;
  char what;
  char padding[7];
};

static void serve(const struct sockaddr_in* at) {
  const int on = 1;
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  must("bind", bind(listener, (const struct sockaddr*)at, sizeof *at) == 0);
  must("listen", listen(listener, 1024) == 0);
  puts("ready");
  fflush(stdout);
  for (;;) {
    const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    must("accept", fd >= 0);
    struct order order;
    ssize_t n = recv(fd, &order, sizeof order, MSG_WAITALL);
    if (n == (ssize_t)sizeof order && order.what == 'e') {
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      const size_t size = (size_t)order.amount;
      while ((n = recv(fd, buffer, size, MSG_WAITALL)) == (ssize_t)size) send_all(fd, size);
    } else if (n == (ssize_t)sizeof order) {
      receive_all(fd, (size_t)order.amount);
      send_all(fd, 1);
    }
    close(fd);
  }
}

int main(int argc, char** argv) {
  must("usage: see the source", argc >= 4);
  const struct sockaddr_in at = where(argv);
  if (strcmp(argv[1], "server") == 0) serve(&at);
  must("usage: see the source", argc >= 6);
  const long long count = atoll(argv[5]);
  const size_t size = argc > 6 ? (size_t)atoll(argv[6]) : 1;
  const int on = 1;
  double start = now();
  if (strcmp(argv[4], "connect") == 0) {
    struct order order = {.what = 's', .amount = 1};
    for (long long i = 0; i < count; ++i) {
      const int fd = dial(&at);
      must("send", send(fd, &order, sizeof order, 0) == sizeof order);
      send_all(fd, 1);
      receive_all(fd, 1);
      close(fd);
    }
    printf("%.2f\n", (now() - start) / (double)count);
    return 0;
  }
  const int fd = dial(&at);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (strcmp(argv[4], "trip") == 0) {
    const struct order order = {.what = 'e', .amount = (long long)size};
    must("send", send(fd, &order, sizeof order, 0) == sizeof order);
    start = now();
    for (long long i = 0; i < count; ++i) {
      send_all(fd, size);
      receive_all(fd, size);
    }
    printf("%.2f\n", (now() - start) / (double)count);
  } else {
    const struct order order = {.what = 's', .amount = count};
    must("send", send(fd, &order, sizeof order, 0) == sizeof order);
    start = now();
    for (long long left = count; left > 0; left -= (long long)size)
      send_all(fd, left < (long long)size ? (size_t)left : size);
    receive_all(fd, 1);
    printf("%.2f\n", now() - start);
  }
  return 0;
}
