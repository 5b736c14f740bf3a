// A program with a seccomp filter of its own: what that denies stays denied, the rest works.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "guest.h"

static void deny_getpeername(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpeername, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const struct sock_fprog program = {4, code};
  must("PR_SET_NO_NEW_PRIVS", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  must("seccomp", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

static void server(struct where at) { recv_text(serve_one(&at), "hello"); }

static void client(struct where at) {
  deny_getpeername();
  const int fd = tcp_socket(&at);
  result("connect", connect(fd, sa(&at), at.length));
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  result("getpeername", getpeername(fd, (struct sockaddr*)&name, &length));
  result("getsockname", getsockname(fd, (struct sockaddr*)&name, &length));
  send_text(fd, "hello");
}

GUEST(server, client)
