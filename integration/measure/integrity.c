// Moves pseudo-random data over many connections and looks at every byte: what arrives must be what was
// sent, in order, once, whole. Run by integrity_test.py, server and client in two pods.
//
//   integrity serve PORT WORKERS [KILL_MS]
//   integrity run FILE PORT SEED PROCESSES CONNECTIONS MEGABYTES [KILL_MS]
//
// The server has WORKERS processes that accept at PORT, a thread for each connection, and one process at
// PORT + 1 that accepts without blocking, by epoll. FILE holds the server's address and is read for every
// connection, so that it may change. With KILL_MS a child is killed every so often and replaced.
// Connections that are then cut off must have delivered a right beginning; "cut" counts them.
//
// The client prints one line when all is done or cannot be:
//   {"complete": N, "cut": N, "refused": N, "bytes": N, "wrong": N, "killed": N, "stuck": N}
// Every wait is bounded by kPatience; what takes longer is "stuck". The server counts the same, in a
// file of shared memory that it prints on SIGUSR1.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  kPatience = 30000,     // ms
  kPeriod = 1052687,     // bytes until the data repeats: a prime, so that no buffer size divides it
  kLargest = 1 << 20,    // of one call
  kMagic = 0x53484e54,
};

struct counts {
  atomic_llong complete, cut, refused, bytes, wrong, killed, stuck, connections_left, bytes_left;
  atomic_int next_seed;
};
static struct counts* counts;

// The data of a stream: this table from some place on, over and over. Twice as long, so that a piece of
// it is contiguous wherever it begins.
static uint8_t table[kPeriod + kLargest];

static uint64_t random_number(uint64_t* state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

static void fill_table(void) {
  uint64_t state = 1;
  for (size_t i = 0; i < kPeriod; i++) table[i] = (uint8_t)random_number(&state);
  memcpy(table + kPeriod, table, kLargest);
}

// What a connection is to carry; the client sends it first, the server answers with `up` at the end.
struct order {
  uint32_t magic;
  uint32_t way;  // bit 0: both directions at once, bit 1: the client ends its half before it reads
  uint64_t seed;
  uint64_t up, down;
};

struct flow {
  uint64_t total, done;
  uint64_t random;  // for the sizes of calls
  uint32_t place;   // in the table, of byte 0
};

static struct flow flow(uint64_t total, uint64_t seed) {
  struct flow result = {.total = total, .random = seed};
  result.place = (uint32_t)(random_number(&result.random) % kPeriod);
  return result;
}

static const uint8_t* next_bytes(const struct flow* f) {
  return table + (f->place + f->done) % kPeriod;
}

static size_t next_size(struct flow* f) {
  static const size_t kSizes[] = {1, 13, 100, 767, 1460, 4096, 16384, 65536, 65537, 262144, kLargest};
  size_t size = kSizes[random_number(&f->random) % (sizeof kSizes / sizeof *kSizes)];
  if (f->total > (1 << 20) && size < 4096 && random_number(&f->random) % 8 != 0) size = 65536;
  return size < f->total - f->done ? size : (size_t)(f->total - f->done);
}

static long long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

enum outcome { kComplete, kCut, kWrong, kStuck };

// One call's worth of sending, by changing calls. kComplete: go on.
static enum outcome push(int fd, struct flow* f) {
  const size_t size = next_size(f);
  const uint8_t* bytes = next_bytes(f);
  ssize_t n;
  if (size > 1 && random_number(&f->random) % 4 == 0) {
    struct iovec parts[2] = {{(void*)bytes, size / 2}, {(void*)(bytes + size / 2), size - size / 2}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    n = sendmsg(fd, &message, MSG_NOSIGNAL);
  } else {
    n = send(fd, bytes, size, MSG_NOSIGNAL);
  }
  if (n >= 0) {
    f->done += (uint64_t)n;
    return kComplete;
  }
  if (errno == EINTR || (errno == EAGAIN && (fcntl(fd, F_GETFL) & O_NONBLOCK))) return kComplete;
  return errno == EAGAIN ? kStuck : kCut;
}

static enum outcome pull(int fd, struct flow* f, uint8_t* buffer) {
  size_t size = next_size(f);
  ssize_t n;
  if (size > 1 && random_number(&f->random) % 4 == 0) {
    struct iovec parts[2] = {{buffer, size / 3}, {buffer + size / 3, size - size / 3}};
    n = readv(fd, parts, 2);
  } else {
    n = recv(fd, buffer, size, 0);
  }
  if (n > 0) {
    if (memcmp(buffer, next_bytes(f), (size_t)n) != 0) return kWrong;
    f->done += (uint64_t)n;
    atomic_fetch_add_explicit(&counts->bytes, n, memory_order_relaxed);
    return kComplete;
  }
  if (n == 0) return kCut;
  if (errno == EINTR || (errno == EAGAIN && (fcntl(fd, F_GETFL) & O_NONBLOCK))) return kComplete;
  return errno == EAGAIN ? kStuck : kCut;
}

// Both flows until they are done. One after the other by blocking calls, or both at once.
static enum outcome carry(int fd, struct flow* out, struct flow* in, int at_once, int out_first,
                          uint8_t* buffer) {
  enum outcome outcome = kComplete;
  if (!at_once) {
    for (int turn = 0; turn < 2; turn++) {
      const int sending = out_first == (turn == 0);
      struct flow* f = sending ? out : in;
      while (outcome == kComplete && f->done < f->total)
        outcome = sending ? push(fd, f) : pull(fd, f, buffer);
    }
    return outcome;
  }
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  while (outcome == kComplete && (out->done < out->total || in->done < in->total)) {
    struct pollfd p = {.fd = fd};
    if (out->done < out->total) p.events |= POLLOUT;
    if (in->done < in->total) p.events |= POLLIN;
    const int ready = poll(&p, 1, kPatience);
    if (ready == 0) outcome = kStuck;
    if (ready <= 0) continue;
    if (p.revents & (POLLIN | POLLERR | POLLHUP) && in->done < in->total)
      outcome = pull(fd, in, buffer);
    if (outcome == kComplete && p.revents & POLLOUT) outcome = push(fd, out);
    if (outcome == kComplete && p.revents & (POLLERR | POLLHUP) && in->done == in->total)
      outcome = kCut;  // nobody is left to send to
  }
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  return outcome;
}

static enum outcome exactly(int fd, void* bytes, size_t size, int sending) {
  for (size_t done = 0; done < size;) {
    const ssize_t n = sending ? send(fd, (char*)bytes + done, size - done, MSG_NOSIGNAL)
                              : recv(fd, (char*)bytes + done, size - done, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return kStuck;
    if (n <= 0) return kCut;
    done += (size_t)n;
  }
  return kComplete;
}

// After the last byte there is the end, and nothing else.
static enum outcome ended(int fd) {
  char byte;
  const ssize_t n = recv(fd, &byte, 1, 0);
  if (n == 0) return kComplete;
  if (n > 0) return kWrong;
  return errno == EAGAIN ? kStuck : kCut;
}

static void patient(int fd) {
  const struct timeval limit = {.tv_sec = kPatience / 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static void count(enum outcome outcome) {
  atomic_fetch_add(outcome == kComplete ? &counts->complete
                   : outcome == kCut    ? &counts->cut
                   : outcome == kWrong  ? &counts->wrong
                                        : &counts->stuck,
                   1);
}

static enum outcome serve_one(int fd, uint8_t* buffer) {
  struct order order;
  enum outcome outcome = exactly(fd, &order, sizeof order, 0);
  if (outcome != kComplete) return outcome;
  if (order.magic != kMagic) return kWrong;
  struct flow in = flow(order.up, order.seed), out = flow(order.down, ~order.seed);
  outcome = carry(fd, &out, &in, order.way & 1, 0, buffer);
  if (outcome == kComplete && order.way & 2) outcome = ended(fd);
  if (outcome == kComplete) outcome = exactly(fd, &in.done, sizeof in.done, 1);
  if (outcome == kComplete && !(order.way & 2)) outcome = ended(fd);
  return outcome;
}

static void* serve_thread(void* argument) {
  const int fd = (int)(intptr_t)argument;
  uint8_t* buffer = malloc(kLargest);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  patient(fd);
  count(serve_one(fd, buffer));
  close(fd);
  free(buffer);
  return NULL;
}

static void serve_in_thread(int fd) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 64 * 1024);
  pthread_t thread;
  while (pthread_create(&thread, &attributes, serve_thread, (void*)(intptr_t)fd) != 0) usleep(1000);
  pthread_attr_destroy(&attributes);
}

static int listen_at(int port) {
  const int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (fd < 0 || bind(fd, (const struct sockaddr*)&at, sizeof at) < 0 || listen(fd, 1024) < 0) {
    perror("listen");
    exit(1);
  }
  return fd;
}

static void worker(int listener, int by_epoll) {
  int set = -1;
  if (by_epoll) {
    set = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    fcntl(listener, F_SETFL, O_NONBLOCK);
    epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
  }
  for (;;) {
    struct epoll_event event;
    if (by_epoll && epoll_wait(set, &event, 1, -1) != 1) continue;
    const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) serve_in_thread(fd);
    if (fd < 0 && errno == ENOSYS) exit(1);  // the supervisor has gone: so it would be for ever
  }
}

// One connection of the client. The amount is taken from what is left.
static enum outcome ask(const struct sockaddr_in* to, uint64_t seed, uint64_t amount, uint8_t* buffer) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  uint64_t random = seed;
  struct order order = {.magic = kMagic, .seed = random_number(&random)};
  order.way = (uint32_t)random_number(&random) & 3;
  order.up = random_number(&random) % (amount + 1);
  order.down = amount - order.up;
  patient(fd);
  enum outcome outcome = kComplete;
  if (connect(fd, (const struct sockaddr*)to, sizeof *to) < 0) {
    if (errno == EINPROGRESS || errno == EAGAIN) outcome = kStuck;
    else outcome = kCut, atomic_fetch_add(&counts->refused, 1);
  }
  if (outcome == kComplete) outcome = exactly(fd, &order, sizeof order, 1);
  struct flow out = flow(order.up, order.seed), in = flow(order.down, ~order.seed);
  if (outcome == kComplete) outcome = carry(fd, &out, &in, order.way & 1, 1, buffer);
  if (outcome == kComplete && order.way & 2) shutdown(fd, SHUT_WR);
  uint64_t received = 0;
  if (outcome == kComplete) outcome = exactly(fd, &received, sizeof received, 0);
  if (outcome == kComplete && received != order.up) outcome = kWrong;
  if (outcome == kComplete && order.way & 2) outcome = ended(fd);
  close(fd);
  return outcome;
}

static int read_address(const char* path, struct sockaddr_in* to) {
  char text[64] = "";
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n > 0 ? n : 0] = '\0';
  text[strcspn(text, "\n")] = '\0';
  to->sin_family = AF_INET;
  return inet_pton(AF_INET, text, &to->sin_addr) == 1;
}

static int take_connection(void) {
  long long left = atomic_load(&counts->connections_left);
  while (left > 0 && !atomic_compare_exchange_weak(&counts->connections_left, &left, left - 1)) {
  }
  return left > 0;
}

static void asker(const char* path, int port, uint64_t seed) {
  uint8_t* buffer = malloc(kLargest);
  uint64_t random = seed;
  struct sockaddr_in to;
  while (take_connection()) {
    // Most are small, some are large; the large ones carry nearly all of the bytes.
    const uint64_t kinds = random_number(&random) % 100;
    const uint64_t most = kinds < 10 ? 0 : kinds < 60 ? 1000 : kinds < 90 ? 100000 : 2 << 20;
    uint64_t amount = random_number(&random) % (most + 1);
    const long long connections = atomic_load(&counts->connections_left) + 1;
    const long long bytes = atomic_load(&counts->bytes_left);
    if (kinds >= 90 && bytes > 0 && connections > 0)
      amount += (uint64_t)(bytes / connections) * 10;
    atomic_fetch_sub(&counts->bytes_left, (long long)amount);
    const uint64_t its_seed = random_number(&random);
    to.sin_port = htons((uint16_t)(port + (int)(its_seed & 1)));
    const enum outcome outcome =
        read_address(path, &to) ? ask(&to, its_seed, amount, buffer) : kStuck;
    count(outcome);
    if (outcome == kCut) {  // not counted as done, but not at once again: a pod may be restarting
      atomic_fetch_add(&counts->connections_left, 1);
      atomic_fetch_add(&counts->bytes_left, (long long)amount);
      usleep(2000);
    }
  }
  free(buffer);
}

static void print_counts(void) {
  printf("{\"complete\": %lld, \"cut\": %lld, \"refused\": %lld, \"bytes\": %lld, \"wrong\": %lld,"
         " \"killed\": %lld, \"stuck\": %lld}\n",
         counts->complete, counts->cut, counts->refused, counts->bytes, counts->wrong,
         counts->killed, counts->stuck);
  fflush(stdout);
}

struct team {
  int size, serving;
  pid_t* members;
  int* listeners;
  const char* path;
  int port;
  uint64_t seed;
};

static void start_member(struct team* team, int i) {
  const int serial = atomic_fetch_add(&counts->next_seed, 1);
  const pid_t pid = fork();
  if (pid < 0) {
    perror("fork");
    exit(1);
  }
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGUSR1, SIG_IGN);
    if (team->serving) worker(team->listeners[i == 0], i == 0);
    asker(team->path, team->port, team->seed + (uint64_t)serial * 1000003);
    _exit(0);
  }
  team->members[i] = pid;
}

static volatile sig_atomic_t asked;
static void on_ask(int number) {
  (void)number;
  asked = 1;
}

// Starts all members; kills one now and then and starts another one in its place. Ends when all have
// ended by themselves.
static void lead(struct team* team, int kill_ms) {
  uint64_t random = team->seed ^ 7;
  struct sigaction action = {.sa_handler = on_ask};
  sigaction(SIGUSR1, &action, NULL);
  team->members = calloc((size_t)team->size, sizeof *team->members);
  for (int i = 0; i < team->size; i++) start_member(team, i);
  int living = team->size;
  long long next = now_ms() + kill_ms;
  while (living > 0) {
    if (asked) {
      asked = 0;
      print_counts();
    }
    int status;
    const pid_t ended = waitpid(-1, &status, WNOHANG);
    if (ended > 0) {
      for (int i = 0; i < team->size; i++) {
        if (team->members[i] != ended) continue;
        team->members[i] = 0;
        living--;
        if (!WIFSIGNALED(status)) continue;
        if (WTERMSIG(status) != SIGKILL) atomic_fetch_add(&counts->wrong, 1);  // it crashed
        start_member(team, i);
        living++;
        // What it was at is to be done by somebody.
        if (!team->serving) atomic_fetch_add(&counts->connections_left, 1);
      }
      continue;
    }
    if (kill_ms > 0 && now_ms() >= next) {
      const int i = (int)(random_number(&random) % (uint64_t)team->size);
      if (team->members[i] > 0 && kill(team->members[i], SIGKILL) == 0)
        atomic_fetch_add(&counts->killed, 1);
      next = now_ms() + kill_ms;
    }
    usleep(kill_ms > 0 ? 1000 : 10000);
  }
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  fill_table();
  counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (argc >= 4 && strcmp(argv[1], "serve") == 0) {
    const int port = atoi(argv[2]);
    int listeners[2] = {listen_at(port), listen_at(port + 1)};
    struct team team = {.size = atoi(argv[3]) + 1, .serving = 1, .listeners = listeners};
    lead(&team, argc > 4 ? atoi(argv[4]) : 0);
  } else if (argc >= 8 && strcmp(argv[1], "run") == 0) {
    struct team team = {.size = atoi(argv[5]), .path = argv[2], .port = atoi(argv[3]),
                        .seed = strtoull(argv[4], NULL, 10)};
    counts->connections_left = atoll(argv[6]);
    counts->bytes_left = atoll(argv[7]) * 1000000;
    lead(&team, argc > 8 ? atoi(argv[8]) : 0);
    print_counts();
  } else {
    fputs("usage: see the top of integrity.c\n", stderr);
    return 2;
  }
  return 0;
}
