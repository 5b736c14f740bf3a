// Programs that mean harm, for hostile_test.py. Each does what it does for some seconds and then ends
// with 0; what matters is what happens to others meanwhile.
//
//   hostile wild ADDRESS PORT SECONDS      trapped calls with arguments out of a hat
//   hostile rewrite ADDRESS PORT SECONDS   the address of connect is rewritten during the call
//   hostile race ADDRESS PORT SECONDS      threads connect, close, duplicate and shut the same numbers
//   hostile killed ADDRESS PORT SECONDS    children are killed at every step of a connection
//   hostile flood ADDRESS PORT SECONDS     trapped calls as fast as they go, from eight threads
//   hostile serve PORT                     accepts, reads and writes a little, closes
//   hostile smuggle ADDRESS PORT           tries to send descriptors and credentials over connections
//   hostile receive PORT                   its other end; prints {"rights": N, "pidfd": N, "credentials": N,
//                                          "bytes": N} for each connection
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kPassCred = 16, kPassSec = 34, kPassPidFd = 76, kPassRights = 83, kScmPidFd = 4 };

static struct sockaddr_in target;
static double deadline;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t random_number(void) {
  static __thread uint64_t state;
  if (state == 0) state = (uint64_t)gettid() * 2654435761U ^ (uint64_t)(now() * 1e9);
  uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  return z ^ (z >> 27);
}

static int dial(int flags) {
  const int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
  const struct timeval limit = {.tv_sec = 5};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  connect(fd, (const struct sockaddr*)&target, sizeof target);
  return fd;
}

static _Noreturn void wild(void) {
  static const int kCalls[] = {SYS_connect,     SYS_listen,     SYS_accept,     SYS_accept4,
                               SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt,
                               SYS_ioctl,       SYS_io_uring_setup};
  static const int kNames[] = {1, 2, 3, 11, 13, 16, 17, 31, 34, 59, 76, 77, 83, 255};
  // A page with something after which nothing is mapped, one that cannot be written.
  char* pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(pages + 4096, 4096);
  memcpy(pages + 4096 - 16, &target, 16);
  char* fixed = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (;;) {
    int fds[6] = {dial(0), dial(SOCK_NONBLOCK), socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0),
                  socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0),
                  socket(AF_INET6, SOCK_DGRAM, 0), open("/dev/null", O_RDWR)};
    listen(fds[2], 1);
    for (int i = 0; i < 200; i++) {
      const uint64_t values[] = {0, 1, 2, 4, 16, 110, 128, 4096, INT_MAX, (uint64_t)INT_MIN, UINT_MAX,
                                 1ULL << 32, 1ULL << 47, 1ULL << 63, UINT64_MAX, UINT64_MAX - 4095,
                                 (uint64_t)(pages + 4096 - 16), (uint64_t)(pages + 4096 - 2),
                                 (uint64_t)fixed, (uint64_t)pages, (uint64_t)&errno, random_number()};
#define ANY values[random_number() % (sizeof values / sizeof *values)]
      const int call = kCalls[random_number() % (sizeof kCalls / sizeof *kCalls)];
      uint64_t fd = (uint64_t)fds[random_number() % 6];
      if (random_number() % 8 == 0) fd = ANY;
      uint64_t second = ANY, third = ANY;
      if (call == SYS_getsockopt || call == SYS_setsockopt) {
        second = random_number() % 4 ? (uint64_t[]){1, 6, 0, 41}[random_number() % 4] : ANY;
        third = (uint64_t)kNames[random_number() % (sizeof kNames / sizeof *kNames)];
      }
      if (call == SYS_io_uring_setup) fd = 4;
      const long made = syscall(call, fd, second, third, ANY, ANY, ANY);
      if (made > 20 && (call == SYS_accept || call == SYS_accept4)) close((int)made);
    }
    for (int i = 0; i < 6; i++) close(fds[i]);
  }
}

static struct sockaddr_storage shared_address;
static void* rewriting(void* unused) {
  (void)unused;
  while (now() < deadline)
    for (int i = 0; i < 1000; i++) {
      memcpy(&shared_address, &target, sizeof target);
      ((volatile struct sockaddr_in*)&shared_address)->sin_addr.s_addr = (uint32_t)random_number();
      ((volatile struct sockaddr_in*)&shared_address)->sin_family = (uint16_t)(random_number() % 12);
    }
  return NULL;
}

static void rewrite(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, rewriting, NULL);
  while (now() < deadline) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(fd, (const struct sockaddr*)&shared_address, sizeof target);
    connect(fd, (const struct sockaddr*)&shared_address, sizeof target);
    close(fd);
  }
  pthread_join(thread, NULL);
}

enum { kFirst = 100, kNumbers = 40 };
static void* racing(void* role) {
  const int which = (int)(intptr_t)role;
  while (now() < deadline) {
    const int number = kFirst + (int)(random_number() % kNumbers);
    if (which < 4) {
      const int fd = socket(AF_INET, SOCK_STREAM | (which & 1 ? SOCK_NONBLOCK : 0), 0);
      dup2(fd, number);
      close(fd);
      connect(number, (const struct sockaddr*)&target, sizeof target);
      send(number, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else if (which == 4) {
      close(number);
    } else if (which == 5) {
      dup2(kFirst + (int)(random_number() % kNumbers), number);
    } else {
      struct sockaddr_in name;
      socklen_t length = sizeof name;
      getpeername(number, (struct sockaddr*)&name, &length);
      shutdown(number, (int)(random_number() % 3));
    }
  }
  return NULL;
}

static void race(void) {
  pthread_t threads[7];
  for (intptr_t i = 0; i < 7; i++) pthread_create(&threads[i], NULL, racing, (void*)i);
  while (now() < deadline) {
    const pid_t pid = fork();  // and some of it in children, whose threads vanish
    if (pid == 0) {
      racing((void*)(intptr_t)(random_number() % 4));
      _exit(0);
    }
    usleep((unsigned)(random_number() % 20000));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
  }
  for (int i = 0; i < 7; i++) pthread_join(threads[i], NULL);
}

static void killed(void) {
  while (now() < deadline) {
    const pid_t pid = fork();
    if (pid == 0) {
      const int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
      struct sockaddr_in name = {.sin_family = AF_INET};
      socklen_t length = sizeof name;
      bind(listener, (struct sockaddr*)&name, sizeof name);
      listen(listener, 8);
      getsockname(listener, (struct sockaddr*)&name, &length);
      for (;;) {
        const int fd = dial(0);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        char byte = 'x';
        send(fd, &byte, 1, MSG_NOSIGNAL);
        const int own = socket(AF_INET, SOCK_STREAM, 0);
        connect(own, (struct sockaddr*)&name, sizeof name);
        close(accept(listener, NULL, NULL));
        close(own);
        close(fd);
      }
    }
    usleep((unsigned)(random_number() % 1500));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
  }
}

static void* flooding(void* fd) {
  while (now() < deadline)
    for (int i = 0; i < 100; i++) {
      struct sockaddr_in name;
      socklen_t length = sizeof name;
      getpeername((int)(intptr_t)fd, (struct sockaddr*)&name, &length);
      int value = 1;
      getsockopt((int)(intptr_t)fd, IPPROTO_TCP, TCP_NODELAY, &value, &(socklen_t){sizeof value});
    }
  return NULL;
}

static void flood(void) {
  pthread_t threads[8];
  for (int i = 0; i < 8; i++)
    pthread_create(&threads[i], NULL, flooding, (void*)(intptr_t)dial(0));
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
}

static int listen_at(int port) {
  const int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (const struct sockaddr*)&at, sizeof at) < 0 || listen(fd, 512) < 0) exit(1);
  return fd;
}

static void serve(int port) {
  const int listener = listen_at(port);
  const struct timeval limit = {.tv_usec = 20000};
  for (;;) {
    const int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    char bytes[64];
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n > 0) send(fd, bytes, (size_t)n, MSG_NOSIGNAL);
    close(fd);
  }
}

// Everything that might open a connection for what must not pass.

static atomic_int slot_open;
struct flip {
  int harmless, fast, slot;
};
static void* flipping(void* argument) {
  const struct flip* flip = argument;
  while (atomic_load(&slot_open)) {
    dup2(flip->fast, flip->slot);
    dup2(flip->harmless, flip->slot);
    if (random_number() % 3 == 0) close(flip->slot);
  }
  return NULL;
}

static void loosen(int fd) {
  static char value[1 << 20];
  static const int kNames[] = {kPassCred, kPassSec, kPassPidFd, kPassRights};
  static const long kLengths[] = {4, 5, 1024, 1025, 4096, 65536, sizeof value, INT_MAX,
                                  (1LL << 32) + 4};
  for (size_t i = 0; i < sizeof value; i += 4) value[i] = 1;
  for (size_t n = 0; n < sizeof kNames / sizeof *kNames; n++)
    for (size_t l = 0; l < sizeof kLengths / sizeof *kLengths; l++)
      for (long high = 0; high < 2; high++)
        syscall(SYS_setsockopt, (long)fd | high << 32, SOL_SOCKET | high << 40,
                (long)kNames[n] | high << 33, value, kLengths[l]);
  // The number means something else when it is looked at.
  struct flip flip = {socket(AF_INET, SOCK_STREAM, 0), fd, 200};
  pthread_t thread;
  atomic_store(&slot_open, 1);
  pthread_create(&thread, NULL, flipping, &flip);
  for (int i = 0; i < 2000; i++) {
    const int on = 1;
    setsockopt(flip.slot, SOL_SOCKET, kNames[i % 4], &on, i % 8 < 4 ? sizeof on : 2000);
  }
  atomic_store(&slot_open, 0);
  pthread_join(thread, NULL);
  close(flip.slot);
  close(flip.harmless);
}

static void smuggle(void) {
  for (int round = 0; round < 10; round++) {
    const int fd = dial(0);
    char byte = 0;
    loosen(fd);
    if (recv(fd, &byte, 1, 0) != 1) _exit(1);  // the other end has done the same
    for (int i = 0; i < 8; i++) {
      union {
        char bytes[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr aligned;
      } control = {0};
      struct iovec part = {"x", 1};
      struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes};
      struct cmsghdr* header = &control.aligned;
      header->cmsg_level = SOL_SOCKET;
      if (i % 2 == 0) {
        const int null = open("/dev/null", O_RDONLY);
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof null);
        message.msg_controllen = CMSG_SPACE(sizeof null);
        memcpy(CMSG_DATA(header), &null, sizeof null);
      } else {
        const struct ucred me = {getpid(), getuid(), getgid()};
        header->cmsg_type = SCM_CREDENTIALS;
        header->cmsg_len = CMSG_LEN(sizeof me);
        message.msg_controllen = CMSG_SPACE(sizeof me);
        memcpy(CMSG_DATA(header), &me, sizeof me);
      }
      if (sendmsg(fd, &message, MSG_NOSIGNAL) < 0) send(fd, "y", 1, MSG_NOSIGNAL);
    }
    close(fd);
  }
}

static void receive(int port) {
  const int listener = listen_at(port);
  for (;;) {
    const int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    loosen(fd);
    send(fd, "!", 1, MSG_NOSIGNAL);
    int rights = 0, pidfds = 0, credentials = 0, bytes = 0;
    for (;;) {
      char byte, control[512];
      struct iovec part = {&byte, 1};
      struct msghdr message = {
          .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
      if (recvmsg(fd, &message, 0) != 1) break;
      bytes++;
      for (struct cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET) continue;
        rights += c->cmsg_type == SCM_RIGHTS;
        credentials += c->cmsg_type == SCM_CREDENTIALS;
        pidfds += c->cmsg_type == kScmPidFd;
      }
    }
    close(fd);
    printf("{\"rights\": %d, \"pidfd\": %d, \"credentials\": %d, \"bytes\": %d}\n", rights, pidfds,
           credentials, bytes);
    fflush(stdout);
  }
}

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "serve") == 0) serve(atoi(argv[2]));
  if (argc == 3 && strcmp(argv[1], "receive") == 0) receive(atoi(argv[2]));
  if (argc < 4) return 2;
  signal(SIGPIPE, SIG_IGN);
  target.sin_family = AF_INET;
  target.sin_port = htons((uint16_t)atoi(argv[3]));
  if (inet_pton(AF_INET, argv[2], &target.sin_addr) != 1) return 2;
  deadline = now() + (argc > 4 ? atof(argv[4]) : 5);
  if (strcmp(argv[1], "wild") == 0) {
    const pid_t pid = fork();  // sooner or later it waits in accept or the like for good
    if (pid == 0) wild();
    while (now() < deadline) usleep(10000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
  }
  if (strcmp(argv[1], "rewrite") == 0) rewrite();
  if (strcmp(argv[1], "race") == 0) race();
  if (strcmp(argv[1], "killed") == 0) killed();
  if (strcmp(argv[1], "flood") == 0) flood();
  if (strcmp(argv[1], "smuggle") == 0) smuggle();
  return 0;
}
