#include "netstack/host/host_fabric.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "netstack/base/log.h"
#include "netstack/host/host_link.h"
#include "netstack/host/node_address.h"

namespace shunt::host {
namespace {

using namespace std::chrono_literals;

constexpr auto kTokenLife = 5s;
constexpr auto kSweep = 1s;
constexpr std::size_t kMostArriving = 512;  // without a token we know: the oldest go
constexpr std::size_t kMostExpected = 65536;
constexpr int kBacklog = 1024;
// Accepted only once the token is there; a caller that sends none costs us nothing meanwhile.
constexpr int kDeferSeconds = 3;

template <typename T>
void set(int socket, int level, int option, T value) {
  ::setsockopt(socket, level, option, &value, sizeof value);
}

}  // namespace

Status as_family(int socket, int family) {
  int is = 0;
  socklen_t length = sizeof is;
  if (::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &is, &length) < 0) return last_error("SO_DOMAIN");
  if (is == family) return Done{};
  if (is != AF_INET6) return Error{EAFNOSUPPORT, "host socket"};
  // Turns a socket with mapped addresses into an AF_INET one (ipv6(7)).
  if (::setsockopt(socket, IPPROTO_IPV6, IPV6_ADDRFORM, &family, sizeof family) < 0)
    return Error{EAFNOSUPPORT, "IPV6_ADDRFORM"};
  return Done{};
}

std::size_t HostFabric::TokenHash::operator()(const Token& token) const noexcept {
  std::size_t value = 0;  // it is random
  std::memcpy(&value, token.data(), sizeof value);
  return value;
}

Result<std::unique_ptr<HostFabric>, std::string> HostFabric::create(EventLoop& loop,
                                                                    HostOptions options) {
  std::unique_ptr<HostFabric> fabric{new HostFabric{loop, std::move(options)}};
  if (auto opened = fabric->open(); !opened) return opened.error();
  return fabric;
}

HostFabric::HostFabric(EventLoop& loop, HostOptions options)
    : loop_{loop}, options_{std::move(options)} {}

Result<Done, std::string> HostFabric::open() {
  const InNetns inside{options_.node_netns};
  if (!inside.entered()) return describe(inside.entered().error());
  const auto address = node_address(options_.address);
  if (!address) return address.error();
  own_.address = *address;
  if (options_.guarded) {
    auto guard = Guard::install(options_.ports);
    if (!guard) return "cannot guard sockets of the node: " + guard.error();
    guard_ = std::move(*guard);
  }
  if (const Status listening = listen(); !listening)
    return fmt::format("cannot listen on {}, ports {} to {}: {}", to_text(own_.address),
                       options_.ports.first, options_.ports.last(), describe(listening.error()));
  const auto watch =
      loop_.watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_ready(); });
  if (!watch) return describe(watch.error());
  watch_ = *watch;
  timer_ = loop_.after(kSweep, [this] { sweep(); });
  return Done{};
}

HostFabric::~HostFabric() {
  loop_.forget(watch_);
  loop_.forget(timer_);
  for (const auto& [key, arriving] : arriving_) loop_.forget(arriving.watch);
}

// The first free port, from a place of our own on: shims of one node do not all try the same ones.
// No SO_REUSEADDR: nobody else may bind it while we listen, nor share it.
Status HostFabric::listen() {
  UniqueFd socket{::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP)};
  if (!socket.valid()) {  // no IPv6 in this kernel
    family_ = AF_INET;
    socket = UniqueFd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP)};
  }
  if (!socket.valid()) return last_error("socket");
  set(socket.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT, kDeferSeconds);
  const unsigned count = options_.ports.count;
  const auto start = static_cast<unsigned>(::getpid()) % count;
  for (unsigned i = 0; i < count; ++i) {
    own_.port = static_cast<std::uint16_t>(options_.ports.first + (start + i) % count);
    const SockAddress own = to_sockaddr(own_, family_);
    if (::bind(socket.get(), own.get(), own.length) == 0) {
      if (::listen(socket.get(), kBacklog) < 0) return last_error("listen");
      listener_ = std::move(socket);
      return Done{};
    }
    if (errno != EADDRINUSE) break;
  }
  return last_error("bind");
}

fabric::Bytes HostFabric::advertise() const { return encode(Hello{own_}); }

Result<std::monostate, std::string> HostFabric::fits(fabric::View hello) const {
  const auto theirs = decode_hello(hello);
  if (!theirs) return std::string{"the peer's node gave no usable address"};
  if (is_v4(theirs->listener.address) != is_v4(own_.address))
    return fmt::format("{} and {} are of different families", to_text(own_.address),
                       to_text(theirs->listener.address));
  const std::uint16_t port = theirs->listener.port;
  if (port < options_.ports.first || port > options_.ports.last())
    return fmt::format("the peer listens on port {}, outside of fabrics.host.port here", port);
  return std::monostate{};
}

void HostFabric::link(fabric::LinkSetup setup, fabric::LinkDone done) {
  const auto hello = decode_hello(setup.hello);
  if (!hello) {
    done(Error{EPROTO, "host hello"});
    return;
  }
  auto link = std::make_unique<HostLink>(*this, std::move(setup), *hello);
  HostLink& raw = *link;
  // At once: the peer's tickets come as messages to the link. Whether its node can be reached shows
  // soon; if not, the link fails.
  done(std::unique_ptr<fabric::Link>{std::move(link)});
  raw.start();
}

bool HostFabric::may_dial() {
  if (guard_ == nullptr || guard_->intact()) return true;
  // Another program may be at it again and again: nft takes a while.
  const auto now = Clock::now();
  if (now - guard_looked_at_ < 10s) return false;
  guard_looked_at_ = now;
  const InNetns inside{options_.node_netns};
  if (!inside.entered()) return false;
  const auto restored = guard_->restore();
  if (restored) {
    log::warn("host", "the nftables table was gone; installed it again");
  } else {
    log::warn("host", "no host sockets: the nftables table is gone: {}", restored.error());
  }
  return static_cast<bool>(restored);
}

HostFabric::Dials HostFabric::start_dials(const Pin& peer, std::size_t count) {
  Dials dials;
  const InNetns inside{options_.node_netns};
  if (!inside.entered()) {
    dials.error = inside.entered().error();
    return dials;
  }
  {
    const FileOwner owner;
    while (dials.started.size() < count) {
      UniqueFd socket{::socket(family_, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP)};
      if (!socket.valid()) {
        dials.error = last_error("socket");
        break;
      }
      dials.started.push_back(std::move(socket));
    }
  }
  for (std::size_t i = 0; i < dials.started.size(); ++i) {
    const Status started = start_dial(dials.started[i].get(), peer);
    if (started) continue;
    dials.error = started.error();
    dials.started.resize(i);
  }
  return dials;
}

Status HostFabric::start_dial(int socket, const Pin& peer) const {
  // The peer expects our address; the port may be one in use towards others.
  set(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  const SockAddress own = to_sockaddr({own_.address, 0}, family_);
  if (::bind(socket, own.get(), own.length) < 0) return last_error("bind");
  if (const Status pinned = peer.apply(socket); !pinned) return pinned.error();
  const SockAddress target = to_sockaddr(peer.peer(), family_);
  if (::connect(socket, target.get(), target.length) < 0 && errno != EINPROGRESS)
    return last_error("connect");
  return Done{};
}

bool HostFabric::expect(HostLink& link, const Ticket& ticket, const IpAddress& from) {
  // It may have been faster than its ticket, which came another way.
  if (const auto found = unclaimed_.find(ticket.token); found != unclaimed_.end()) {
    Arriving arrived = std::move(found->second);
    unclaimed_.erase(found);
    if (arrived.from.address == from) link.arrived(ticket.number, std::move(arrived.socket));
    return true;
  }
  if (expected_.size() >= kMostExpected) return false;
  expected_[ticket.token] = {&link, ticket.number, from, Clock::now() + kTokenLife};
  return true;
}

void HostFabric::forget(HostLink& link) {
  std::erase_if(expected_, [&](const auto& entry) { return entry.second.link == &link; });
}

void HostFabric::accept_ready() {
  constexpr std::size_t kAtOnce = 64;  // then the loop's other work gets its turn
  std::vector<std::uint64_t> keys;
  {
    const FileOwner owner;
    while (keys.size() < kAtOnce) {
      SockAddress peer;
      peer.length = sizeof peer.storage;
      UniqueFd socket{
          ::accept4(listener_.get(), peer.get(), &peer.length, SOCK_CLOEXEC | SOCK_NONBLOCK)};
      if (!socket.valid()) break;
      const auto from = from_sockaddr(peer.bytes());
      if (!from) continue;
      keys.push_back(++last_key_);
      arriving_[last_key_] = {std::move(socket), *from, 0, Clock::now() + kTokenLife};
    }
  }
  for (const std::uint64_t key : keys) read_preface(key);
}

void HostFabric::read_preface(std::uint64_t key) {
  const auto found = arriving_.find(key);
  if (found == arriving_.end()) return;
  Arriving& entry = found->second;
  std::array<std::byte, kPrefaceLength> preface{};
  // All of it or nothing: it was sent in one piece. What follows is not ours to read.
  const ssize_t seen =
      ::recv(entry.socket.get(), preface.data(), preface.size(), MSG_PEEK | MSG_DONTWAIT);
  const bool later =
      seen < 0 ? errno == EAGAIN : seen > 0 && seen < static_cast<ssize_t>(preface.size());
  if (later && entry.watch == 0 && arriving_.size() < kMostArriving) {
    const auto watch = loop_.watch(entry.socket.get(), EPOLLIN | EPOLLRDHUP | EPOLLET,
                                   [this, key](std::uint32_t) { read_preface(key); });
    if (watch) {
      entry.watch = *watch;
      return;
    }
  } else if (later && entry.watch != 0) {
    return;  // until swept
  }
  loop_.forget(entry.watch);
  Arriving arrived = std::move(entry);
  arriving_.erase(found);
  const auto token =
      seen == static_cast<ssize_t>(preface.size()) ? decode_preface(preface) : std::nullopt;
  if (!token) {
    ++strangers_;
    return;
  }
  ::recv(arrived.socket.get(), preface.data(), preface.size(), MSG_DONTWAIT);
  settle(std::move(arrived.socket), arrived.from, *token);
}

void HostFabric::settle(UniqueFd socket, const Endpoint& from, const Token& token) {
  if (!pin(socket.get(), from)) return;
  const auto found = expected_.find(token);
  if (found == expected_.end()) {
    if (unclaimed_.size() >= kMostArriving) {
      ++strangers_;
      return;
    }
    unclaimed_[token] = {std::move(socket), from, 0, Clock::now() + kTokenLife};
    return;
  }
  const Expected expected = found->second;
  expected_.erase(found);  // once
  if (expected.from != from.address) {
    ++strangers_;
    return;
  }
  expected.link->arrived(expected.number, std::move(socket));
}

void HostFabric::sweep() {
  const auto now = Clock::now();
  const auto old = [&](const auto& entry) { return entry.second.until < now; };
  for (const auto& entry : arriving_)
    if (old(entry)) loop_.forget(entry.second.watch);
  strangers_ += std::erase_if(arriving_, old);
  strangers_ += std::erase_if(unclaimed_, old);
  std::erase_if(expected_, old);
  timer_ = loop_.after(kSweep, [this] { sweep(); });
}

}  // namespace shunt::host
