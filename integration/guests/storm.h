// A signal every 100 microseconds at the calling process until stop_storm(); guest.h comes first.
//
// On a slow machine as many times fewer: on a real one, signals every 10 microseconds leave no time
// for anything else, with or without Shunt.
#pragma once

#include <time.h>

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
