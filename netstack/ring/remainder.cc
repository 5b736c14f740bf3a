#include "netstack/ring/remainder.h"

#include <algorithm>
#include <atomic>
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

  /// True: nothing is left to do.
  bool give() {
    const iovec part{bytes.data() + given, bytes.size() - given};
    const auto taken = app.give(std::span{&part, 1});
    if (taken && (given += *taken) < bytes.size()) return false;
    if (cleanly)
      app.close();
    else
      app.reset();
    return true;
  }

  fabric::AppEnd app;
  std::vector<std::byte> bytes;
  std::size_t given = 0;
  bool cleanly;
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

void give_later(EventLoop& loop, fabric::AppEnd app, std::vector<std::byte> bytes, bool cleanly) {
  if (g_held + bytes.size() > kMost) return;  // closed unread: a reset
  auto rest = std::make_shared<Remainder>(std::move(app), std::move(bytes), cleanly);
  auto token = std::make_shared<EventLoop::Token>(0);
  const auto watch = loop.watch(rest->app.fd(), EPOLLOUT | EPOLLET, [&loop, rest, token](auto) {
    if (rest->give()) loop.forget(*token);
  });
  if (watch) *token = *watch;
}

}  // namespace shunt::ring
