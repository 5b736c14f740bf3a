// Timers ring a timerfd instead of bounding the wait: a wait with a bound reads the clock twice and
// sets and clears a timer of the kernel's each time, and the loop would read the clock before and
// after it to know the bound and what is due. An engine waits twice for each message.
#include "netstack/base/event_loop.h"

#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>

namespace shunt {

EventLoop::EventLoop()
    : epoll_{::epoll_create1(EPOLL_CLOEXEC)},
      wake_fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)},
      clock_{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)} {
  if (!epoll_.valid() || !wake_fd_.valid() || !clock_.valid())
    std::abort();  // no descriptors at start: nothing can work
  // Edge-triggered: each write is an event, and nobody need read what has been counted.
  const auto token = watch(wake_fd_.get(), EPOLLIN | EPOLLET, [this](std::uint32_t) {
    if (on_wake_) on_wake_();
  });
  // Nor this one: setting it anew clears what has been counted.
  const auto ring = watch(clock_.get(), EPOLLIN | EPOLLET, [this](std::uint32_t) { rang_ = true; });
  if (!token || !ring) std::abort();
}

Result<EventLoop::Token> EventLoop::watch(int fd, std::uint32_t events, Callback callback) {
  auto watch = std::make_unique<Watch>(Watch{++last_, fd, std::move(callback)});
  epoll_event event{};
  event.events = events;
  event.data.ptr = watch.get();
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) return last_error("epoll_ctl");
  watches_.emplace(last_, std::move(watch));
  return Token{last_};
}

Status EventLoop::rearm(Token token, std::uint32_t events) {
  const auto it = watches_.find(token);
  if (it == watches_.end()) return Error{ENOENT, "rearm"};
  epoll_event event{};
  event.events = events;
  event.data.ptr = it->second.get();
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, it->second->fd, &event) < 0)
    return last_error("epoll_ctl");
  return Done{};
}

void EventLoop::forget(Token token) {
  if (const auto it = watches_.find(token); it != watches_.end()) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second->fd, nullptr);
    auto watch = std::move(it->second);
    watches_.erase(it);
    watch->token = 0;
    if (batches_ == 0) return;
    if (watch->running == 0) watch->callback = nullptr;  // now, as if it were gone
    forgotten_.push_back(std::move(watch));
    return;
  }
  const auto due = timer_due_.find(token);
  if (due == timer_due_.end()) return;
  auto [from, to] = timers_.equal_range(due->second);
  const auto timer =
      std::find_if(from, to, [&](const auto& entry) { return entry.second.first == token; });
  if (timer != to) timers_.erase(timer);
  timer_due_.erase(due);
}

EventLoop::Token EventLoop::at(Clock::time_point due, std::function<void()> callback) {
  const Token token = ++last_;
  timers_.emplace(due, std::pair{token, std::move(callback)});
  timer_due_.emplace(token, due);
  set_clock();
  return token;
}

void EventLoop::post(std::function<void()> callback) { posted_.push_back(std::move(callback)); }

void EventLoop::wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto ignored = ::write(wake_fd_.get(), &one, sizeof one);
}

/// Only ever to an earlier moment: where the first timer has been forgotten the clock rings for
/// nothing, once.
void EventLoop::set_clock() {
  if (timers_.empty() || timers_.begin()->first >= rings_at_) return;
  rings_at_ = timers_.begin()->first;
  // A moment that has been is due at once; 0 would stop the clock.
  const auto at = std::max(rings_at_.time_since_epoch(), Clock::duration{1});
  const auto seconds = std::chrono::floor<std::chrono::seconds>(at);
  itimerspec when{};
  when.it_value.tv_sec = seconds.count();
  when.it_value.tv_nsec = std::chrono::nanoseconds{at - seconds}.count();
  if (::timerfd_settime(clock_.get(), TFD_TIMER_ABSTIME, &when, nullptr) < 0) std::abort();
}

void EventLoop::run_timers() {
  const auto now = Clock::now();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    auto node = timers_.extract(timers_.begin());
    timer_due_.erase(node.mapped().first);
    node.mapped().second();
  }
  rang_ = false;
  rings_at_ = Clock::time_point::max();
  set_clock();
}

EventLoop::Turn::~Turn() {
  if (asked_)
    std::replace(loop_.turns_.begin(), loop_.turns_.end(), this, static_cast<Turn*>(nullptr));
}

void EventLoop::Turn::ask() {
  if (!std::exchange(asked_, true)) loop_.turns_.push_back(this);
}

void EventLoop::run_posted() {
  for (std::size_t left = posted_.size(); left > 0; --left) {
    const auto callback = std::move(posted_.front());
    posted_.pop_front();
    callback();
  }
  const std::size_t count = turns_.size();
  for (std::size_t i = 0; i < std::min(count, turns_.size()); ++i) {
    Turn* turn = std::exchange(turns_[i], nullptr);
    if (turn == nullptr) continue;  // destroyed meanwhile, or run by a loop inside this one
    turn->asked_ = false;
    turn->callback_();
  }
  std::erase(turns_, nullptr);
}

/// Hands out what the kernel has told of. Callbacks may forget any watch, also one whose event
/// comes later in the batch: so watches stay until nobody hands out events, without their
/// callbacks.
void EventLoop::hand_out(std::span<const epoll_event> batch) {
  ++batches_;
  for (const epoll_event& event : batch) {
    Watch& watch = *static_cast<Watch*>(event.data.ptr);
    if (watch.token == 0) continue;
    ++watch.running;
    watch.callback(event.events);
    --watch.running;
    if (watch.token == 0 && watch.running == 0) watch.callback = nullptr;
  }
  if (--batches_ == 0) forgotten_.clear();
}

void EventLoop::run_once(int timeout_ms) {
  run_posted();
  const bool wait = posted_.empty() && turns_.empty() && !rang_;
  std::array<epoll_event, 64> batch;
  const int n = ::epoll_wait(epoll_.get(), batch.data(), static_cast<int>(batch.size()),
                             wait ? timeout_ms : 0);
  // Events first: on a busy machine a timer and what it was to give up waiting for are due
  // together.
  hand_out(std::span{batch}.first(static_cast<std::size_t>(std::max(n, 0))));
  if (rang_) run_timers();
  run_posted();
}

void EventLoop::run() {
  stopped_ = false;
  while (!stopped_) run_once(-1);
}

bool EventLoop::Ready::await_suspend(std::coroutine_handle<> caller) {
  const auto finish = [this, caller](std::uint32_t what) {
    seen = what;
    loop.forget(watch);
    loop.forget(timer);
    caller.resume();  // last: it destroys this awaitable, and the callback we stand in is kept by
                      // the loop
  };
  const auto token = loop.watch(fd, events, finish);
  if (!token) {
    seen = EPOLLERR;
    return false;
  }
  watch = *token;
  if (deadline != Clock::time_point::max()) timer = loop.at(deadline, [finish] { finish(0); });
  return true;
}

}  // namespace shunt
