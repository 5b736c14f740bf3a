// Addresses and lengths that point nowhere, in every call that takes them.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  recv_end(accept_one(listener));
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  char* page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(page + 4096, 4096);
  struct sockaddr* edge = (struct sockaddr*)(page + 4096 - 8);  // half of it is mapped
  memcpy(edge, &at.address, 8);
  result("connect at the edge", connect(fd, edge, at.length));
  mprotect(page, 4096, PROT_READ);
  must("connect", connect(fd, sa(&at), at.length));
  socklen_t length = 16;
  result("getsockname into read-only memory", getsockname(fd, (struct sockaddr*)page, &length));
  result("length in read-only memory", getsockname(fd, (struct sockaddr*)&at, (socklen_t*)page));
  result("getpeername at the edge", getpeername(fd, edge, &length));
  length = 4;
  result("getsockopt into read-only memory",
         getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, page, &length));
  result("setsockopt from the edge", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, page + 4096 - 2, 4));
  result("kernel memory", getpeername(fd, (struct sockaddr*)0xffffffff80000000UL, &length));
}

GUEST(server, client)
