// One thread writes, another reads, on one connection; the order within each direction holds.
#include <pthread.h>

#include "guest.h"

enum { kCount = 5000 };

static void* write_numbers(void* argument) {
  const int fd = *(int*)argument;
  for (uint32_t i = 0; i < kCount; ++i) send_all(fd, &i, sizeof i);
  return NULL;
}

static void both_ways(int fd) {
  pthread_t writer;
  must("pthread_create", -pthread_create(&writer, NULL, write_numbers, &fd));
  uint32_t in_order = 0;
  for (uint32_t i = 0; i < kCount; ++i) {
    uint32_t number = 0;
    recv_all(fd, &number, sizeof number);
    in_order += number == i;
  }
  pthread_join(writer, NULL);
  say("in order: %u", in_order);
}

static void server(struct where at) { both_ways(serve_one(&at)); }
static void client(struct where at) { both_ways(dial(&at)); }

GUEST(server, client)
