#include "netstack/verbs/joined.h"

#include <poll.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace shunt::verbs {
namespace {

/// What a test cannot go on without.
template <typename R>
auto need(R result) {
  if (!result) {
    std::fprintf(stderr, "%s\n", describe(result.error()).c_str());
    std::abort();
  }
  return std::move(*result);
}

}  // namespace

bool real_device() { return std::getenv("SHUNT_VERBS_REAL") != nullptr; }

std::unique_ptr<Calls> test_calls() {
  if (real_device()) return need(load_library());
  auto fake = std::make_unique<Fake>();
  fake->gids = {*parse_address("192.0.2.1"), *parse_address("192.0.2.2")};
  return fake;
}

LinkLimits small_limits(unsigned lanes) {
  LinkLimits limits;
  limits.region = 4 * kSlab;
  limits.lanes = lanes;
  return limits;
}

Joined::Joined(Calls& calls, const LinkLimits& limits, const Tuning& tuning) {
  device = need(Device::open(calls, ""));
  const std::vector<Gid> gids = device->gids();
  if (gids.empty()) std::abort();
  const GidPair forth{gids.front(), gids.back().address};
  const GidPair back{gids.back(), gids.front().address};
  a.mover = need(VerbsMover::make(*device, limits, own, mirrors));
  b.mover = need(VerbsMover::make(*device, limits, own, mirrors));
  need(a.mover->connect(forth, need(b.mover->terms(back)), limits.region, tuning));
  need(b.mover->connect(back, need(a.mover->terms(forth)), limits.region, tuning));
}

Status Side::receive() {
  for (;;) {
    const auto any = mover->receive(got);
    if (!any) return any.error();
    if (!*any) return Done{};
  }
}

bool Joined::until(const std::function<bool()>& done, int seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{seconds};
  for (;;) {
    bool idle = true;
    for (Side* const side : {&a, &b}) {
      if (side->mover == nullptr) continue;
      (void)side->receive();
      idle = side->mover->arm(for_room) && idle;
    }
    if (done()) return true;
    if (std::chrono::steady_clock::now() > end) return false;
    if (!idle) continue;
    std::array<pollfd, 2> wait{};
    for (std::size_t i = 0; i < 2; ++i) {
      const Side& side = i == 0 ? a : b;
      wait.at(i) = {side.mover != nullptr ? side.mover->event_fd() : -1, POLLIN, 0};
    }
    if (::poll(wait.data(), wait.size(), 100) < 0) return false;
    for (std::size_t i = 0; i < 2; ++i)
      if (wait.at(i).revents != 0) (i == 0 ? a : b).mover->disarm();
  }
}

}  // namespace shunt::verbs
