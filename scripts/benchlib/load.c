// Both ends of the connections that scripts/bench measures, with plain blocking sockets: no event
// loop, no allocation, no option except TCP_NODELAY, so that what is measured is the way between.
//
//   load serve ADDRESS                        serve until killed; a process per connection
//   load answer ADDRESS                       accept, answer one byte, close, one after the other
//   load keep ADDRESS                         accept and keep everything
//   load echo ADDRESS BYTES SECONDS           send, wait for as much, again
//   load stream ADDRESS BYTES SECONDS         write in pieces of that many bytes
//   load download ADDRESS BYTES SECONDS       read what the server writes in such pieces
//   load connect ADDRESS SECONDS              connect, one byte to and fro, close
//   load hold ADDRESS COUNT FIFO              hold connections until somebody had the fifo open
//   load memcached ADDRESS CLIENTS SECONDS    "get" on that many connections, one request each
//   load turns ASK ANSWER                     what is asked for in the fifo ASK, a line each, as
//                                             above ("echo ADDRESS 64 0.02"); results go to ANSWER
//   load trapped COMMAND...                   one of the above; another process is asked before
//                                             each connect and accept, and answers at once that the
//                                             kernel may run it
//
// ADDRESS is IPv4:PORT, or the path of an AF_UNIX socket. Clients print one line of JSON:
// operations, bytes, seconds, and on how many CPUs they were allowed to run. If $GATE names a fifo
// they wait for a byte from it before they connect, so that what it took to start them can be told
// from what they do.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kEcho = 'e', kSink = 's', kSource = 'd', kBuffer = 1 << 16, kBacklog = 1024 };

// What a client of `serve` sends first.
struct Order {
  uint32_t kind;
  uint32_t bytes;  // of a message, for kEcho and kSource
  uint32_t milliseconds;  // for kSource
};

struct Address {
  union {
    struct sockaddr any;
    struct sockaddr_in ip;
    struct sockaddr_un path;
  };
  socklen_t length;
};

static char buffer[kBuffer];

static struct Address parse(const char* text) {
  struct Address to = {0};
  if (text[0] == '/') {
    to.path.sun_family = AF_UNIX;
    strncpy(to.path.sun_path, text, sizeof to.path.sun_path - 1);
    to.length = sizeof to.path;
    return to;
  }
  char host[INET_ADDRSTRLEN] = {0};
  const char* colon = strchr(text, ':');
  if (!colon || (size_t)(colon - text) >= sizeof host) errx(2, "%s: not an address", text);
  memcpy(host, text, (size_t)(colon - text));
  to.ip.sin_family = AF_INET;
  to.ip.sin_port = htons((uint16_t)atoi(colon + 1));
  if (inet_pton(AF_INET, host, &to.ip.sin_addr) != 1) errx(2, "%s: not an address", host);
  to.length = sizeof to.ip;
  return to;
}

// Answers come at once, as those of any server of small messages; AF_UNIX has no such option.
static void no_delay(int fd, const struct Address* address) {
  int on = 1;
  if (address->any.sa_family == AF_INET) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int dial(const struct Address* to) {
  int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, &to->any, to->length) < 0) err(1, "connect");
  return fd;
}

static int listen_at(const struct Address* at) {
  int on = 1;
  int fd = socket(at->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (at->any.sa_family == AF_UNIX) unlink(at->path.sun_path);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (fd < 0 || bind(fd, &at->any, at->length) < 0 || listen(fd, kBacklog) < 0) err(1, "listen");
  return fd;
}

static int accept_one(int listener) {
  int fd;
  do {
    fd = accept(listener, NULL, NULL);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) err(1, "accept");
  return fd;
}

static void put(int fd, const void* data, size_t size) {
  for (size_t done = 0; done < size;) {
    ssize_t n = send(fd, (const char*)data + done, size - done, MSG_NOSIGNAL);
    if (n < 0) err(1, "send");
    done += (size_t)n;
  }
}

// 0 at the end of the stream.
static int get(int fd, void* data, size_t size) {
  for (size_t done = 0; done < size;) {
    ssize_t n = read(fd, (char*)data + done, size - done);
    if (n < 0) err(1, "read");
    if (n == 0) return 0;
    done += (size_t)n;
  }
  return 1;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void report(uint64_t operations, uint64_t bytes, double seconds) {
  cpu_set_t cpus;
  sched_getaffinity(0, sizeof cpus, &cpus);
  printf("{\"operations\": %lu, \"bytes\": %lu, \"seconds\": %.9f, \"cpus\": %d}\n", operations,
         bytes, seconds, CPU_COUNT(&cpus));
}

static void wait_at_gate(void) {
  const char* gate = getenv("GATE");
  if (!gate) return;
  char byte;
  int fd = open(gate, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || !get(fd, &byte, 1)) err(1, "%s", gate);
  close(fd);
}

// Returns how many pieces.
static uint64_t put_for(int fd, uint32_t bytes, double seconds) {
  uint64_t count = 0;
  double end = now() + seconds;
  do {
    for (int i = 0; i < 64; i++, count++) put(fd, buffer, bytes);  // the clock is not read for each
  } while (now() < end);
  shutdown(fd, SHUT_WR);
  return count;
}

static void serve_one(int fd, const struct Address* at) {
  struct Order order;
  if (!get(fd, &order, sizeof order)) return;
  if (order.bytes > kBuffer) errx(1, "message too large");
  if (order.kind == kSource) {
    put_for(fd, order.bytes, 1e-3 * order.milliseconds);
    return;
  }
  if (order.kind == kEcho) {
    no_delay(fd, at);
    while (get(fd, buffer, order.bytes)) put(fd, buffer, order.bytes);
    return;
  }
  uint64_t total = 0;
  for (ssize_t n; (n = read(fd, buffer, kBuffer)) > 0;) total += (uint64_t)n;
  put(fd, &total, sizeof total);
}

static void serve(const struct Address* at) {
  int listener = listen_at(at);
  signal(SIGCHLD, SIG_IGN);
  for (;;) {
    int fd = accept_one(listener);
    if (fork() == 0) {
      close(listener);
      serve_one(fd, at);
      _exit(0);
    }
    close(fd);
  }
}

static void answer(const struct Address* at) {
  int listener = listen_at(at);
  for (;;) {
    int fd = accept_one(listener);
    char byte;
    if (get(fd, &byte, 1)) put(fd, &byte, 1);
    close(fd);
  }
}

// As many descriptors as the container's limit allows.
static void raise_limit(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// One process for all clients of all rounds: what clients closed is closed in passing.
static void keep(const struct Address* at) {
  raise_limit();
  int listener = listen_at(at);
  int set = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    if (epoll_wait(set, &event, 1, -1) != 1) continue;
    int fd = event.data.fd;
    if (fd != listener) {
      close(fd);
      continue;
    }
    fd = accept_one(listener);
    event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
  }
}

static void hold(const struct Address* to, int count, const char* fifo) {
  raise_limit();
  double begin = now();
  for (int i = 0; i < count; i++) dial(to);
  double seconds = now() - begin;
  char byte;
  int fd = open(fifo, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || get(fd, &byte, 1)) err(1, "%s", fifo);
  report((uint64_t)count, 0, seconds);
}

static void echo(const struct Address* to, uint32_t bytes, double seconds) {
  struct Order order = {kEcho, bytes, 0};
  int fd = dial(to);
  no_delay(fd, to);
  put(fd, &order, sizeof order);
  uint64_t count = 0;
  double begin = 0, end = now() + seconds / 10;  // a tenth to warm up, not counted
  for (int warm = 0; warm < 2; warm++) {
    if (warm) begin = now(), count = 0, end = begin + seconds;
    do {
      for (int i = 0; i < 64; i++, count++) {  // the clock is not read for each
        put(fd, buffer, bytes);
        if (!get(fd, buffer, bytes)) errx(1, "closed by the server");
      }
    } while (now() < end);
  }
  report(count, 2 * count * bytes, now() - begin);
}

static void stream(const struct Address* to, uint32_t bytes, double seconds) {
  struct Order order = {kSink, 0, 0};
  int fd = dial(to);
  put(fd, &order, sizeof order);
  uint64_t total = 0;
  double begin = now();
  uint64_t count = put_for(fd, bytes, seconds);
  if (!get(fd, &total, sizeof total)) errx(1, "closed by the server");
  if (total != count * bytes) errx(1, "%lu bytes sent, %lu received", count * bytes, total);
  report(count, total, now() - begin);  // until all has arrived
}

static void download(const struct Address* to, uint32_t bytes, double seconds) {
  struct Order order = {kSource, bytes, (uint32_t)(1e3 * seconds)};
  int fd = dial(to);
  put(fd, &order, sizeof order);
  uint64_t total = 0;
  double begin = now();
  for (ssize_t n; (n = read(fd, buffer, kBuffer)) != 0; total += (uint64_t)n)
    if (n < 0) err(1, "read");
  if (total == 0 || total % bytes != 0) errx(1, "%lu bytes received", total);
  report(total / bytes, total, now() - begin);
}

static void connects(const struct Address* to, double seconds) {
  uint64_t count = 0;
  double begin = now(), end = begin + seconds;
  do {
    char byte = 'x';
    int fd = dial(to);
    put(fd, &byte, 1);
    if (!get(fd, &byte, 1)) errx(1, "closed by the server");
    // The server closes first: TIME_WAIT is then on its side and does not use up client ports.
    if (get(fd, &byte, 1)) errx(1, "more than was asked for");
    close(fd);
    count++;
  } while (now() < end);
  report(count, 2 * count, now() - begin);
}

static void memcached(const struct Address* to, int clients, double seconds) {
  static const char kGet[] = "get key\r\n";
  static const char kSet[] = "set key 0 0 64\r\n%064d\r\n";
  int set = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < clients; i++) {
    int fd = dial(to);
    no_delay(fd, to);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0) err(1, "epoll_ctl");
    char text[128];
    put(fd, text, (size_t)snprintf(text, sizeof text, kSet, 0));  // "STORED" counts as one answer
  }
  uint64_t count = 0;
  double begin = now(), end = begin + seconds;
  do {
    struct epoll_event events[64];
    int ready = epoll_wait(set, events, 64, 5000);
    if (ready <= 0) errx(1, "no answer");
    for (int i = 0; i < ready; i++, count++) {
      int fd = events[i].data.fd;
      // Answers are shorter than any buffer on the way and come in one piece; they end with \r\n.
      ssize_t n = read(fd, buffer, kBuffer);
      if (n < 2 || buffer[n - 1] != '\n') errx(1, "unexpected answer");
      put(fd, kGet, sizeof kGet - 1);
    }
  } while (now() < end);
  report(count, 0, now() - begin);
}

static int client_or_server(int argc, char** argv);

// A process for each: it finds what a new client finds, but the container's exec is not waited for.
static void turns(const char* ask, const char* answer) {
  FILE* lines = fopen(ask, "r+e");  // for writing as well: there is never an end of file
  int results = open(answer, O_RDWR | O_CLOEXEC);
  if (!lines || results < 0) err(1, "%s, %s", ask, answer);
  for (char line[256]; fgets(line, sizeof line, lines);) {
    pid_t child = fork();
    if (child == 0) {
      char* words[8] = {"load"};
      int count = 1;
      for (char* word = strtok(line, " \n"); word && count < 7; word = strtok(NULL, " \n"))
        words[count++] = word;
      dup2(results, STDOUT_FILENO);
      exit(client_or_server(count, words));
    }
    int status = 1;
    if (waitpid(child, &status, 0) != child || status != 0) dprintf(results, "null\n");
  }
}

static int client_or_server(int argc, char** argv) {
  if (argc < 3) errx(2, "usage: see the top of load.c");
  const char* what = argv[1];
  struct Address address = parse(argv[2]);
  int number = argc > 3 ? atoi(argv[3]) : 0;
  double seconds = argc > 3 ? atof(argv[argc - 1]) : 0;
  if (!strcmp(what, "serve")) serve(&address);
  if (!strcmp(what, "answer")) answer(&address);
  if (!strcmp(what, "keep")) keep(&address);
  if (!strcmp(what, "hold") && argc == 5) return hold(&address, number, argv[4]), 0;
  wait_at_gate();
  if (!strcmp(what, "connect")) return connects(&address, seconds), 0;
  if (number <= 0) errx(2, "%s: no such number", argv[3]);
  if (!strcmp(what, "echo")) return echo(&address, (uint32_t)number, seconds), 0;
  if (!strcmp(what, "stream")) return stream(&address, (uint32_t)number, seconds), 0;
  if (!strcmp(what, "download")) return download(&address, (uint32_t)number, seconds), 0;
  if (!strcmp(what, "memcached")) return memcached(&address, number, seconds), 0;
  errx(2, "%s: no such mode", what);
}

// The notify descriptor of a filter of this process and of those it forks.
static int trap_connect_and_accept(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_accept, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) err(1, "PR_SET_NO_NEW_PRIVS");
  long fd =
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  if (fd < 0) err(1, "seccomp");
#ifdef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
  ioctl((int)fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
#else  // Linux 6.6 has it, older headers do not
  ioctl((int)fd, SECCOMP_IOW(4, uint64_t), 1UL);
#endif
  return (int)fd;
}

static void exit_as_child(int signal) {
  (void)signal;
  int status = 1;
  wait(&status);
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

// The least that a supervisor can cost: what is left is what the kernel takes for a trap.
static int trapped(int argc, char** argv) {
  int notify = trap_connect_and_accept();
  signal(SIGCHLD, exit_as_child);
  pid_t child = fork();
  if (child < 0) err(1, "fork");
  if (child == 0) {
    signal(SIGCHLD, SIG_DFL);
    close(notify);
    return client_or_server(argc, argv);
  }
  for (;;) {
    struct seccomp_notif call = {0};
    if (ioctl(notify, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0) continue;  // a signal, or taken back
    struct seccomp_notif_resp answer = {.id = call.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    ioctl(notify, SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

int main(int argc, char** argv) {
  if (argc > 2 && !strcmp(argv[1], "trapped")) return trapped(argc - 1, argv + 1);
  if (argc == 4 && !strcmp(argv[1], "turns")) turns(argv[2], argv[3]);
  return client_or_server(argc, argv);
}
