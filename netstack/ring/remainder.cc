#include "netstack/ring/remainder.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace shunt::ring {
namespace {

constexpr std::size_t kMost = 64u << 20;
std::atomic<std::size_t> g_held{0};

struct Remainder {
  Remainder(fabric::AppEnd its, std::vector<std::byte> left, bool clean)
      : app{std::move(its)}, bytes{std::move(left)}, cleanly{clean} {
    g_held += bytes.size();
  }
  Remainder(const Remainder&) = delete;
  Remainder& operator=(const Remainder&) = delete;
  ~Remainder() { g_held -= bytes.size(); }

  /// True: it is time to end.
  bool go_on(std::uint32_t events) {
    app.noticed(events);
    if (!given_all()) return false;
    if (!cleanly) return true;
    // TCP's CLOSE_WAIT, until the application ends too or writes what nobody receives.
    if (!std::exchange(finished, true)) app.finish();
    std::array<std::byte, 1> one{};
    const auto taken = app.take(one, {});
    return !taken || taken->ended || taken->small > 0;
  }

  void end() {
    if (cleanly)
      app.close();
    else
      app.reset();
  }

  bool given_all() {
    if (given == bytes.size()) return true;
    const iovec part{bytes.data() + given, bytes.size() - given};
    const auto taken = app.give(std::span{&part, 1});
    given = taken ? given + *taken : bytes.size();
    return given == bytes.size();
  }

  fabric::AppEnd app;
  std::vector<std::byte> bytes;
  std::size_t given = 0;
  bool cleanly;
  bool finished = false;
};

}  // namespace

std::vector<std::byte> give_what_fits(fabric::AppEnd& app, std::span<const iovec> parts) {
  std::size_t all = 0;
  for (const iovec& part : parts) all += part.iov_len;
  if (all == 0) return {};
  const auto taken = app.give(parts);
  if (!taken || *taken == all) return {};
  std::vector<std::byte> left;
  left.reserve(all - *taken);
  std::size_t skip = *taken;
  for (const iovec& part : parts) {
    const auto* bytes = static_cast<const std::byte*>(part.iov_base);
    const std::size_t from = std::min(skip, part.iov_len);
    left.insert(left.end(), bytes + from, bytes + part.iov_len);
    skip -= from;
  }
  return left;
}

void see_off(EventLoop& loop, fabric::AppEnd app, std::vector<std::byte> bytes, bool cleanly) {
  if (g_held + bytes.size() > kMost) return;  // closed unread: a reset
  auto rest = std::make_shared<Remainder>(std::move(app), std::move(bytes), cleanly);
  if (rest->go_on(0)) return rest->end();
  auto token = std::make_shared<EventLoop::Token>(0);
  const auto watch = loop.watch(rest->app.fd(), EPOLLIN | EPOLLRDHUP | EPOLLOUT | EPOLLET,
                                [&loop, rest, token](std::uint32_t events) {
                                  if (!rest->go_on(events)) return;
                                  loop.forget(*token);
                                  rest->end();
                                });
  if (watch) *token = *watch;
}

}  // namespace shunt::ring
