// What the guest programs share. A guest shows one behaviour of sockets by printing what it saw,
// and prints the same wherever it runs: natively or under Shunt, over loopback or from pod to pod.
//
//   guest server ADDR PORT    the server's half; prints "server: ready" once it may be connected to
//   guest client ADDR PORT    the client's half
//   guest both [ADDR]         forks both, prints the client's lines and then the server's
//
// So nothing that differs between runs is printed: no time, pid, address, ephemeral port, size of a
// partial read. ADDR is an address of the server. Every process ends within guest_seconds().
//
// GUEST_SLOW in the environment says how many times slower than a real one the machine is (an
// emulated one: 10 or more). What a guest bears or asks for in time is that many times as much.
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUEST_UNUSED __attribute__((unused))

GUEST_UNUSED static int guest_slow(void) {
  const char* text = getenv("GUEST_SLOW");
  const int times = text != NULL ? atoi(text) : 1;
  return times < 1 ? 1 : times > 100 ? 100 : times;
}
GUEST_UNUSED static unsigned guest_seconds(void) { return 40 * (unsigned)guest_slow(); }

/// Where the server is. `port` is 0 in a server that may choose; listen_at() fills it in.
struct where {
  struct sockaddr_storage address;
  socklen_t length;
  uint16_t port;
};

static const char* guest_role = "guest";
static int guest_ready_pipe = -1;   // mode both: the server writes its port here
static int guest_family = AF_INET;  // mode both: which loopback to use

/// One line with the role in front, in one write, so that processes do not cut each other's lines.
GUEST_UNUSED __attribute__((format(printf, 1, 2))) static void say(const char* format, ...) {
  char line[1024];
  int used = snprintf(line, sizeof line, "%s: ", guest_role);
  va_list arguments;
  va_start(arguments, format);
  used += vsnprintf(line + used, sizeof line - (size_t)used - 2, format, arguments);
  va_end(arguments);
  if (used > (int)sizeof line - 2) used = (int)sizeof line - 2;
  line[used++] = '\n';
  if (write(STDOUT_FILENO, line, (size_t)used) < 0) _exit(98);
}

/// Prints "what = 5" or "what = -1 ECONNREFUSED", and gives the value back with errno as it was.
GUEST_UNUSED static long result(const char* what, long value) {
  const int saved = errno;
  if (value < 0)
    say("%s = -1 %s", what, strerrorname_np(saved));
  else
    say("%s = %ld", what, value);
  errno = saved;
  return value;
}

/// For calls that give a descriptor, whose number says nothing.
GUEST_UNUSED static int result_fd(const char* what, int fd) {
  const int saved = errno;
  if (fd < 0)
    say("%s = -1 %s", what, strerrorname_np(saved));
  else
    say("%s = a descriptor", what);
  errno = saved;
  return fd;
}

/// Ends the program when a call fails that this guest is not about.
GUEST_UNUSED static long must(const char* what, long value) {
  if (value >= 0) return value;
  say("unexpected: %s = -1 %s", what, strerrorname_np(errno));
  _exit(97);
}

GUEST_UNUSED static void set_port(struct where* at, uint16_t port) {
  at->port = port;
  if (at->address.ss_family == AF_INET)
    ((struct sockaddr_in*)&at->address)->sin_port = htons(port);
  else
    ((struct sockaddr_in6*)&at->address)->sin6_port = htons(port);
}

GUEST_UNUSED static uint16_t port_of(const struct sockaddr_storage* address) {
  if (address->ss_family == AF_INET) return ntohs(((const struct sockaddr_in*)address)->sin_port);
  if (address->ss_family == AF_INET6)
    return ntohs(((const struct sockaddr_in6*)address)->sin6_port);
  return 0;
}

GUEST_UNUSED static const struct sockaddr* sa(const struct where* at) {
  return (const struct sockaddr*)&at->address;
}

/// "inet addr:server", "inet6 any:0", "inet6 mapped:other": what stays the same between runs.
GUEST_UNUSED static const char* show(const struct where* at,
                                     const struct sockaddr_storage* address) {
  static char text[64];
  const char* host = "addr";
  if (address->ss_family == AF_INET) {
    if (((const struct sockaddr_in*)address)->sin_addr.s_addr == INADDR_ANY) host = "any";
  } else if (address->ss_family == AF_INET6) {
    const struct in6_addr* six = &((const struct sockaddr_in6*)address)->sin6_addr;
    if (IN6_IS_ADDR_UNSPECIFIED(six)) host = "any";
    if (IN6_IS_ADDR_V4MAPPED(six)) host = "mapped";
  } else {
    snprintf(text, sizeof text, "family %d", address->ss_family);
    return text;
  }
  const uint16_t port = port_of(address);
  snprintf(text, sizeof text, "%s %s:%s", address->ss_family == AF_INET ? "inet" : "inet6", host,
           port == 0          ? "0"
           : port == at->port ? "server"
                              : "other");
  return text;
}

/// Tells whoever starts the client that it may.
GUEST_UNUSED static void ready(struct where* at, int listener) {
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  must("getsockname", getsockname(listener, (struct sockaddr*)&own, &length));
  set_port(at, port_of(&own));
  say("ready");
  if (guest_ready_pipe < 0) return;
  must("write", write(guest_ready_pipe, &at->port, sizeof at->port));
  close(guest_ready_pipe);
  guest_ready_pipe = -1;
}

/// A socket bound to the server's address and port.
GUEST_UNUSED static int bound_at(const struct where* at) {
  const int fd = (int)must("socket", socket(at->address.ss_family, SOCK_STREAM, 0));
  const int on = 1;
  must("SO_REUSEADDR", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
  must("bind", bind(fd, sa(at), at->length));
  return fd;
}

/// The usual listener, announced.
GUEST_UNUSED static int listen_at(struct where* at, int backlog) {
  const int fd = bound_at(at);
  must("listen", listen(fd, backlog));
  ready(at, fd);
  return fd;
}

GUEST_UNUSED static int accept_one(int listener) {
  return (int)must("accept", accept(listener, NULL, NULL));
}

/// The usual server: one listener, one connection, no more.
GUEST_UNUSED static int serve_one(struct where* at) {
  const int listener = listen_at(at, 16);
  const int fd = accept_one(listener);
  close(listener);
  return fd;
}

GUEST_UNUSED static int tcp_socket(const struct where* at) {
  return (int)must("socket", socket(at->address.ss_family, SOCK_STREAM, 0));
}

GUEST_UNUSED static int dial(const struct where* at) {
  const int fd = tcp_socket(at);
  must("connect", connect(fd, sa(at), at->length));
  return fd;
}

GUEST_UNUSED static void set_nonblocking(int fd) {
  must("fcntl", fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK));
}

/// Waits until one of `events` is there and gives all of them.
GUEST_UNUSED static short wait_for(int fd, short events) {
  struct pollfd poll_fd = {.fd = fd, .events = events};
  while (poll(&poll_fd, 1, -1) < 0)
    if (errno != EINTR) must("poll", -1);
  return poll_fd.revents;
}

/// What poll reports right now.
GUEST_UNUSED static short events_now(int fd, short events) {
  struct pollfd poll_fd = {.fd = fd, .events = events};
  must("poll", poll(&poll_fd, 1, 0));
  return poll_fd.revents;
}

/// "IN|OUT|HUP" for poll and epoll alike: their bits are the same.
GUEST_UNUSED static const char* event_names(unsigned events) {
  static char text[64];
  static const struct {
    unsigned bit;
    const char* name;
  } kNames[] = {{POLLIN, "IN|"},   {POLLPRI, "PRI|"},   {POLLOUT, "OUT|"},    {POLLERR, "ERR|"},
                {POLLHUP, "HUP|"}, {POLLNVAL, "NVAL|"}, {POLLRDHUP, "RDHUP|"}};
  text[0] = '\0';
  for (size_t i = 0; i < sizeof kNames / sizeof *kNames; ++i)
    if ((events & kNames[i].bit) != 0) strcat(text, kNames[i].name);
  if (text[0] == '\0') return "nothing";
  text[strlen(text) - 1] = '\0';
  return text;
}

GUEST_UNUSED static void send_all(int fd, const void* bytes, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t n = send(fd, (const char*)bytes + done, size - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      wait_for(fd, POLLOUT);
      continue;
    }
    done += (size_t)must("send", n);
  }
}

/// Reads exactly `size` bytes, or fewer up to end of file; gives their number.
GUEST_UNUSED static size_t recv_all(int fd, void* bytes, size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t n = recv(fd, (char*)bytes + done, size - done, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      wait_for(fd, POLLIN);
      continue;
    }
    if (must("recv", n) == 0) break;
    done += (size_t)n;
  }
  return done;
}

GUEST_UNUSED static void send_text(int fd, const char* text) { send_all(fd, text, strlen(text)); }

/// Reads strlen(expected) bytes and says what came.
GUEST_UNUSED static void recv_text(int fd, const char* expected) {
  char text[512] = {0};
  const size_t got = recv_all(fd, text, strlen(expected));
  const bool same = got == strlen(expected) && memcmp(text, expected, got) == 0;
  for (char* c = text; *c != '\0'; ++c)
    if (*c == '\n') *c = ' ';
  if (same)
    say("received \"%s\"", text);
  else
    say("received \"%s\" instead of \"%s\"", text, expected);
}

GUEST_UNUSED static void recv_end(int fd) {
  char byte;
  result("recv at the end", recv(fd, &byte, 1, 0));
}

/// Steps of both halves are ordered by single bytes over a connection that nobody looks at.
GUEST_UNUSED static void tell(int control) { send_all(control, "!", 1); }
GUEST_UNUSED static void await(int control) {
  char byte;
  if (recv_all(control, &byte, 1) != 1) say("unexpected: the other half is gone");
}

/// FNV-1a, to compare long transfers.
GUEST_UNUSED static uint64_t checksum(uint64_t sum, const void* bytes, size_t size) {
  for (size_t i = 0; i < size; ++i) sum = (sum ^ ((const uint8_t*)bytes)[i]) * 1099511628211ULL;
  return sum;
}
static const uint64_t kChecksumStart GUEST_UNUSED = 14695981039346656037ULL;

/// A repeatable stream of numbers.
GUEST_UNUSED static uint32_t next_number(uint64_t* state) {
  *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (uint32_t)(*state >> 33);
}

/// Forks; the child runs `body` and ends.
GUEST_UNUSED static pid_t in_child(void (*body)(int), int argument) {
  const pid_t pid = (pid_t)must("fork", fork());
  if (pid > 0) return pid;
  alarm(guest_seconds());
  body(argument);
  _exit(0);
}

GUEST_UNUSED static void reap(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status))
    say("child ended by SIG%s", sigabbrev_np(WTERMSIG(status)));
  else if (WEXITSTATUS(status) != 0)
    say("child ended with %d", WEXITSTATUS(status));
}

GUEST_UNUSED static void guest_timeout(int number) {
  (void)number;
  say("unexpected: timed out");
  _exit(96);
}

typedef void (*guest_half)(struct where at);

GUEST_UNUSED static int guest_both(guest_half server, guest_half client, struct where at) {
  int port_pipe[2];
  must("pipe", pipe2(port_pipe, O_CLOEXEC));
  const int output = (int)must("memfd_create", memfd_create("server", MFD_CLOEXEC));
  const pid_t pid = (pid_t)must("fork", fork());
  if (pid == 0) {
    guest_role = "server";
    alarm(guest_seconds());
    must("dup2", dup2(output, STDOUT_FILENO));
    close(port_pipe[0]);
    guest_ready_pipe = port_pipe[1];
    server(at);
    _exit(0);
  }
  close(port_pipe[1]);
  uint16_t port = 0;
  const bool up = read(port_pipe[0], &port, sizeof port) == sizeof port;
  close(port_pipe[0]);
  int status = 0;
  if (up) {
    const pid_t client_pid = (pid_t)must("fork", fork());
    if (client_pid == 0) {
      guest_role = "client";
      alarm(guest_seconds());
      set_port(&at, port);
      client(at);
      _exit(0);
    }
    waitpid(client_pid, &status, 0);
  }
  const bool client_failed = status != 0 || !up;
  if (client_failed) kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  char bytes[4096];
  ssize_t n = 0;
  for (off_t at_byte = 0; (n = pread(output, bytes, sizeof bytes, at_byte)) > 0; at_byte += n)
    if (write(STDOUT_FILENO, bytes, (size_t)n) != n) return 1;
  return client_failed || status != 0;
}

/// The main of every guest.
GUEST_UNUSED static int guest_main(int argc, char** argv, guest_half server, guest_half client) {
  struct sigaction on_alarm = {.sa_handler = guest_timeout};
  sigaction(SIGALRM, &on_alarm, NULL);
  const char* mode = argc > 1 ? argv[1] : "both";
  const char* text = argc > 2 ? argv[2] : guest_family == AF_INET6 ? "::1" : "127.0.0.1";
  struct where at = {0};
  struct sockaddr_in* four = (struct sockaddr_in*)&at.address;
  struct sockaddr_in6* six = (struct sockaddr_in6*)&at.address;
  if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
    at.address.ss_family = AF_INET;
    at.length = sizeof *four;
  } else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
    at.address.ss_family = AF_INET6;
    at.length = sizeof *six;
  } else {
    fprintf(stderr, "usage: %s both [ADDR] | server ADDR PORT | client ADDR PORT\n", argv[0]);
    return 2;
  }
  if (strcmp(mode, "both") == 0) return guest_both(server, client, at);
  if (argc > 3) set_port(&at, (uint16_t)atoi(argv[3]));
  alarm(guest_seconds());
  guest_role = strcmp(mode, "server") == 0 ? "server" : "client";
  (strcmp(mode, "server") == 0 ? server : client)(at);
  return 0;
}

#define GUEST(server, client) \
  int main(int argc, char** argv) { return guest_main(argc, argv, server, client); }
