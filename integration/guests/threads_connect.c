// Many threads connect at the same time; all succeed and are told apart.
#include <pthread.h>

#include "guest.h"

enum { kThreads = 16 };
static struct where target;

static void* connect_thread(void* argument) {
  const int fd = dial(&target);
  const uint8_t number = (uint8_t)(uintptr_t)argument;
  uint8_t back = 0;
  send_all(fd, &number, 1);
  recv_all(fd, &back, 1);
  close(fd);
  return (void*)(uintptr_t)(back == number + 100);
}

static void server(struct where at) {
  const int listener = listen_at(&at, 64);
  for (int i = 0; i < kThreads; ++i) {
    const int fd = accept_one(listener);
    uint8_t number = 0;
    recv_all(fd, &number, 1);
    number = (uint8_t)(number + 100);
    send_all(fd, &number, 1);
    close(fd);
  }
}

static void client(struct where at) {
  target = at;
  pthread_t threads[kThreads];
  for (uintptr_t i = 0; i < kThreads; ++i)
    must("pthread_create", -pthread_create(&threads[i], NULL, connect_thread, (void*)i));
  int right = 0;
  for (int i = 0; i < kThreads; ++i) {
    void* answer = NULL;
    pthread_join(threads[i], &answer);
    right += answer != NULL;
  }
  say("right answers: %d", right);
}

GUEST(server, client)
