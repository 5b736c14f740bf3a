// A signal every 100 microseconds at the calling process until stop_storm(), and what both sides do
// meanwhile: one connection after the other, with a number to and fro.
//
// On a slow machine as many times fewer: on a real one, signals every 10 microseconds leave no time
// for anything else, with or without Shunt.
#pragma once

#include <time.h>

#include "guest.h"

enum { kRounds = 200 };

static timer_t storm_timer;

static void on_storm(int number) { (void)number; }

static void start_storm(int flags) {
  struct sigaction action = {.sa_handler = on_storm, .sa_flags = flags};
  sigaction(SIGUSR1, &action, NULL);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  must("timer_create", timer_create(CLOCK_MONOTONIC, &event, &storm_timer));
  const long period = 100000L * guest_slow();
  const struct itimerspec every = {.it_interval = {0, period}, .it_value = {0, period}};
  must("timer_settime", timer_settime(storm_timer, 0, &every, NULL));
}

static void stop_storm(void) { timer_delete(storm_timer); }

/// The client's half of a connection; whether its number came back.
static bool ask(int fd, uint32_t number) {
  uint32_t back = ~number;
  send_all(fd, &number, sizeof number);
  recv_all(fd, &back, sizeof back);
  close(fd);
  return back == number;
}

/// The server's half; whether the number is that of the round.
static bool answer(int fd, uint32_t round) {
  uint32_t number = ~round;
  recv_all(fd, &number, sizeof number);
  send_all(fd, &number, sizeof number);
  close(fd);
  return number == round;
}
