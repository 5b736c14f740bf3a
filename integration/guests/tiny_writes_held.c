// As tiny_writes_first, but whoever writes is not easily seen to have the socket: a thread with a
// descriptor table of its own, a thread that has outlived main(), a process in another network
// namespace (where it may make one).
#include <pthread.h>
#include <sched.h>

#include "tiny_writes.h"

static int held = -1;
static pthread_barrier_t unshared;

static void both_ways(void) {
  write_tiny(held);
  read_tiny(held);
  _exit(0);
}

static void* in_own_table(void* unused) {
  must("unshare", unshare(CLONE_FILES));
  pthread_barrier_wait(&unshared);  // main() closes it then
  pthread_barrier_wait(&unshared);
  both_ways();
  return unused;
}

static void own_table(void) {
  pthread_t thread;
  pthread_barrier_init(&unshared, NULL, 2);
  must("pthread_create", -pthread_create(&thread, NULL, in_own_table, NULL));
  pthread_barrier_wait(&unshared);
  close(held);
  pthread_barrier_wait(&unshared);
  pthread_join(thread, NULL);
}

static void* after_main(void* main_thread) {
  pthread_join(*(pthread_t*)main_thread, NULL);
  both_ways();
  return NULL;
}

static void without_main(void) {
  static pthread_t self;
  pthread_t thread;
  self = pthread_self();
  must("pthread_create", -pthread_create(&thread, NULL, after_main, &self));
  pthread_exit(NULL);
}

static void other_namespace(void) {
  if (unshare(CLONE_NEWNET) != 0) (void)unshare(CLONE_NEWUSER | CLONE_NEWNET);
  both_ways();
}

static void held_by_child(int fd, void (*way)(void)) {
  const pid_t child = (pid_t)must("fork", fork());
  if (child == 0) {
    held = fd;
    way();
    _exit(1);
  }
  close(fd);
  int status = 0;
  must("waitpid", waitpid(child, &status, 0));
  say("ended with %d", status);
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  held_by_child(accept_one(listener), own_table);
  held_by_child(accept_one(listener), without_main);
  held_by_child(accept_one(listener), other_namespace);
}

static void client(struct where at) {
  held_by_child(dial(&at), own_table);
  held_by_child(dial(&at), without_main);
  held_by_child(dial(&at), other_namespace);
}

GUEST(server, client)
