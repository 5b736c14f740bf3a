#include "netstack/base/event_loop.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <span>

namespace shunt {

using std::chrono::milliseconds;

EventLoop::EventLoop()
    : epoll_{::epoll_create1(EPOLL_CLOEXEC)}, wake_fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  if (!epoll_.valid() || !wake_fd_.valid())
    std::abort();  // no descriptors at start: nothing can work
  // Edge-triggered: each write is an event, and nobody need read what has been counted.
  const auto token = watch(wake_fd_.get(), EPOLLIN | EPOLLET, [this](std::uint32_t) {
    if (on_wake_) on_wake_();
  });
  if (!token) std::abort();
}

Result<EventLoop::Token> EventLoop::watch(int fd, std::uint32_t events, Callback callback) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = ++last_;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) return last_error("epoll_ctl");
  watches_.emplace(last_, std::make_shared<Watch>(Watch{fd, std::move(callback)}));
  return Token{last_};
}

Status EventLoop::rearm(Token token, std::uint32_t events) {
  const auto it = watches_.find(token);
  if (it == watches_.end()) return Error{ENOENT, "rearm"};
  epoll_event event{};
  event.events = events;
  event.data.u64 = token;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, it->second->fd, &event) < 0)
    return last_error("epoll_ctl");
  return Done{};
}

void EventLoop::forget(Token token) {
  if (const auto it = watches_.find(token); it != watches_.end()) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second->fd, nullptr);
    watches_.erase(it);
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
  return token;
}

void EventLoop::post(std::function<void()> callback) { posted_.push_back(std::move(callback)); }

void EventLoop::wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto ignored = ::write(wake_fd_.get(), &one, sizeof one);
}

int EventLoop::next_timeout(int limit_ms) const {
  if (!posted_.empty()) return 0;
  if (timers_.empty()) return limit_ms;
  const auto left = timers_.begin()->first - Clock::now();
  if (left <= left.zero()) return 0;
  const auto ms = std::chrono::ceil<milliseconds>(left).count();
  const int timer_ms =
      static_cast<int>(std::min<std::int64_t>(ms, std::numeric_limits<int>::max()));
  return limit_ms < 0 ? timer_ms : std::min(limit_ms, timer_ms);
}

void EventLoop::run_timers() {
  const auto now = Clock::now();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    auto node = timers_.extract(timers_.begin());
    timer_due_.erase(node.mapped().first);
    node.mapped().second();
  }
}

void EventLoop::run_posted() {
  for (std::size_t left = posted_.size(); left > 0; --left) {
    const auto callback = std::move(posted_.front());
    posted_.pop_front();
    callback();
  }
}

void EventLoop::run_once(int timeout_ms) {
  run_posted();
  std::array<epoll_event, 64> batch{};
  const int n = ::epoll_wait(epoll_.get(), batch.data(), static_cast<int>(batch.size()),
                             next_timeout(timeout_ms));
  // Stopped and continued (SIGSTOP), which ends the wait without a word about events.
  const bool looked = n >= 0;
  // Events first: on a busy machine a timer and what it was to give up waiting for are due
  // together.
  for (const epoll_event& event :
       std::span{batch}.first(static_cast<std::size_t>(std::max(n, 0)))) {
    const std::uint64_t token = event.data.u64;  // epoll_event is packed: copy, never bind
    const std::uint32_t events = event.events;
    const auto it = watches_.find(token);
    if (it == watches_.end()) continue;              // forgotten earlier in this batch
    const std::shared_ptr<Watch> keep = it->second;  // it may forget itself
    keep->callback(events);
  }
  if (looked) run_timers();
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
