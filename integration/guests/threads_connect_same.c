// Two threads connect the same socket at the same time: both are told, and it is one connection.
#include <pthread.h>

#include "guest.h"

enum { kRounds = 100 };
static struct where target;
static int shared;
static pthread_barrier_t together;

static void* connect_thread(void* argument) {
  (void)argument;
  for (int i = 0; i < kRounds; ++i) {
    pthread_barrier_wait(&together);
    if (connect(shared, sa(&target), target.length) != 0 && errno != EISCONN) must("connect", -1);
    pthread_barrier_wait(&together);
  }
  return NULL;
}

static void server(struct where at) {
  const int listener = listen_at(&at, 64);
  for (int i = 0; i < kRounds; ++i) {
    const int fd = accept_one(listener);
    uint8_t number = 0;
    if (recv_all(fd, &number, 1) == 1) send_all(fd, &number, 1);
    close(fd);
  }
  set_nonblocking(listener);
  result_fd("no connection too many", accept(listener, NULL, NULL));
}

static void client(struct where at) {
  target = at;
  must("pthread_barrier_init", -pthread_barrier_init(&together, NULL, 3));
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i)
    must("pthread_create", -pthread_create(&threads[i], NULL, connect_thread, NULL));
  int right = 0;
  for (int i = 0; i < kRounds; ++i) {
    shared = tcp_socket(&at);
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    const uint8_t number = (uint8_t)i;
    uint8_t back = (uint8_t)~number;
    send_all(shared, &number, 1);
    recv_all(shared, &back, 1);
    right += back == number;
    close(shared);
  }
  for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
  say("right answers: %d", right);
}

GUEST(server, client)
