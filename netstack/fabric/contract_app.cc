#include "netstack/fabric/contract_app.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

namespace shunt::fabric::contract {

namespace {
/// One buffer for all: the tests are single-threaded, and thousands of applications idle.
std::span<std::byte> buffer_of(std::size_t size) {
  static std::vector<std::byte> buffer;
  if (buffer.size() < size) buffer.resize(size);
  return std::span{buffer}.first(size);
}

void fill(std::span<std::byte> bytes, std::uint64_t seed, std::uint64_t at) {
  std::size_t i = 0;
  for (; i < bytes.size() && (at + i) % 8 != 0; ++i) bytes[i] = pattern(seed, at + i);
  for (; i + 8 <= bytes.size(); i += 8) {
    const std::uint64_t word = pattern_word(seed, (at + i) / 8);
    std::memcpy(&bytes[i], &word, 8);
  }
  for (; i < bytes.size(); ++i) bytes[i] = pattern(seed, at + i);
}
}  // namespace

std::size_t App::write(std::size_t bytes) {
  pollfd writable{fd(), POLLOUT, 0};
  if (bytes > 0 && ::poll(&writable, 1, 0) == 0) return 0;
  const auto buffer = buffer_of(bytes);
  fill(buffer, write_seed_, written);
  const ssize_t n = ::send(fd(), buffer.data(), bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0) {
    if (errno != EAGAIN) write_error = errno;
    return 0;
  }
  written += static_cast<std::uint64_t>(n);
  return static_cast<std::size_t>(n);
}

std::size_t App::read(std::size_t at_most) {
  const auto buffer = buffer_of(2 * at_most).first(at_most);
  const ssize_t n = ::recv(fd(), buffer.data(), at_most, MSG_DONTWAIT);
  if (n < 0) {
    if (errno != EAGAIN) read_error = errno;
    return 0;
  }
  if (n == 0 && at_most > 0) ended = true;
  const auto size = static_cast<std::size_t>(n);
  const auto expected = buffer_of(2 * at_most).subspan(at_most, size);
  fill(expected, read_seed_, got);
  if (size > 0 && std::memcmp(buffer.data(), expected.data(), size) != 0) wrong = true;
  got += size;
  return size;
}

void App::shut_write() { ::shutdown(fd(), SHUT_WR); }

Bench::Bench(const MakePair& make) {
  pair = make(
      loop, [this](Error error) { dialled_failed = error.number; },
      [this](Error error) { listened_failed = error.number; });
  REQUIRE(pair.dialled);
  REQUIRE(pair.listened);
}

bool Bench::until(const std::function<bool()>& done) {
  const auto deadline = EventLoop::Clock::now() + std::chrono::minutes{10};
  while (!done()) {
    if (EventLoop::Clock::now() > deadline) return false;
    loop.run_once(1);
  }
  return true;
}

void Bench::settle(int turns) {
  for (int i = 0; i < turns; ++i) loop.run_once(1);
}

MakeEnds Bench::make_ends() const {
  return [size = send_buffer]() -> Result<Ends> {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) < 0)
      return last_error("socketpair");
    Ends made{UniqueFd{ends[0]}, UniqueFd{ends[1]}};
    for (const int end : ends)
      if (::setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
        ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return made;
  };
}

namespace {
Result<Half> wait_for(Bench& bench, const std::function<void(HalfDone)>& start) {
  auto result = std::make_shared<std::optional<Result<Half>>>();
  start([result](Result<Half> half) { result->emplace(std::move(half)); });
  if (!bench.until([&] { return result->has_value(); })) return Error{ETIMEDOUT, "half a stream"};
  return std::move(**result);
}
}  // namespace

Result<Half> Bench::open(Link& link, StreamId id) {
  return wait_for(*this, [&](HalfDone done) { link.open(id, make_ends(), std::move(done)); });
}

Result<Half> Bench::accept(Link& link, StreamId id, View offer) {
  return wait_for(*this,
                  [&](HalfDone done) { link.accept(id, offer, make_ends(), std::move(done)); });
}

Connection Bench::connect(StreamId id) {
  const bool ours = id % 2 == 1;
  Link& opener = ours ? *pair.dialled : *pair.listened;
  Link& other = ours ? *pair.listened : *pair.dialled;
  auto first = open(opener, id);
  REQUIRE(first);
  auto second = accept(other, id, first->message);
  REQUIRE(second);
  REQUIRE(opener.complete(id, second->message));
  const std::uint64_t seed = 2 * std::uint64_t{id};
  App at_opener{std::move(first->application), ours ? seed : seed + 1, ours ? seed + 1 : seed};
  App at_other{std::move(second->application), ours ? seed + 1 : seed, ours ? seed : seed + 1};
  return ours ? Connection{std::move(at_opener), std::move(at_other)}
              : Connection{std::move(at_other), std::move(at_opener)};
}

bool raise_descriptor_limit(std::size_t wanted) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur >= wanted;
}

}  // namespace shunt::fabric::contract
