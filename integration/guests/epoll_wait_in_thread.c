// One thread waits in epoll while another connects the registered socket.
#include <pthread.h>

#include "guest.h"

static int set;

static void* wait_thread(void* argument) {
  struct epoll_event event;
  do {
    must("epoll_wait", epoll_wait(set, &event, 1, -1));
  } while ((event.events & EPOLLIN) == 0);
  say("thread: %s data %d", event_names(event.events & EPOLLIN), (int)event.data.u64);
  return argument;
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  await(fd);
  send_text(fd, "x");
  recv_end(fd);
}

static void client(struct where at) {
  set = (int)must("epoll_create1", epoll_create1(0));
  const int fd = tcp_socket(&at);
  struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 3};
  must("epoll_ctl", epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
  pthread_t thread;
  must("pthread_create", -pthread_create(&thread, NULL, wait_thread, NULL));
  usleep(5000);  // the thread is likely to wait by now
  must("connect", connect(fd, sa(&at), at.length));
  tell(fd);
  pthread_join(thread, NULL);
  recv_text(fd, "x");
}

GUEST(server, client)
