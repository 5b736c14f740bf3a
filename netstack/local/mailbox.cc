#include "netstack/local/mailbox.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

namespace shunt::local {
namespace {

constexpr int kBacklog = 65535;      // capped by somaxconn of the private namespace
constexpr std::size_t kHeld = 4096;  // offers out of the kernel's queue and not yet claimed

std::optional<Offer> accept_unix(int listener) {
  SockAddress peer;
  peer.length = sizeof peer.storage;
  UniqueFd socket{::accept4(listener, peer.get(), &peer.length, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!socket.valid()) return std::nullopt;
  const auto name = decode(abstract_name(peer));
  // Only supervisors are in the private namespace. A stranger all the same: let go at once, and say
  // "nothing here" for this round.
  if (!name) return std::nullopt;
  stamp(socket.get());
  return Offer{std::move(socket), name->client, name->server, PairKind::kUnix, {}, {}};
}

std::optional<Offer> accept_tcp(int listener) {
  // The client may have reset it since: then only accept itself still knows who that was.
  SockAddress peer;
  peer.length = sizeof peer.storage;
  UniqueFd socket{::accept4(listener, peer.get(), &peer.length, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!socket.valid()) return std::nullopt;
  const auto client = from_sockaddr(peer.bytes());
  const auto server = local_endpoint(socket.get());
  if (!client || !server) return std::nullopt;
  stamp(socket.get());
  return Offer{std::move(socket), *client, *server, PairKind::kTcp, {}, {}};
}

}  // namespace

Peek peek(int socket) {
  std::byte byte{};
  const ssize_t got = ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (got > 0) return Peek::kData;
  if (got == 0) return Peek::kEnd;
  return errno == EAGAIN || errno == EINTR ? Peek::kSilent : Peek::kReset;
}

Result<std::unique_ptr<Mailbox>> Mailbox::open(std::uint64_t netns, std::uint16_t port, int family,
                                               std::span<const IpAddress> addresses) {
  auto mailbox = std::make_unique<Mailbox>();
  mailbox->unix_ = UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!mailbox->unix_.valid()) return last_error("socket(AF_UNIX)");
  prepare_unix_end(mailbox->unix_.get(), 0);  // accepted sockets inherit the refusal of rights
  const SockAddress name = abstract_address(mailbox_name(netns, port, family));
  if (::bind(mailbox->unix_.get(), name.get(), name.length) < 0) return last_error("bind mailbox");
  if (::listen(mailbox->unix_.get(), kBacklog) < 0) return last_error("listen");

  for (const IpAddress& address : addresses) {
    if (family == AF_INET && !is_v4(address)) continue;
    UniqueFd tcp{::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP)};
    const int on = 1;
    ::setsockopt(tcp.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6) ::setsockopt(tcp.get(), IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof on);
    const SockAddress where = to_sockaddr({address, port}, family);
    // Without it tcp pairs are not made: a client finds nobody there and stays on its connection.
    if (tcp.valid() && ::bind(tcp.get(), where.get(), where.length) == 0 &&
        ::listen(tcp.get(), kBacklog) == 0)
      mailbox->tcp_.push_back(std::move(tcp));
  }
  return mailbox;
}

template <typename Stop>
std::optional<Offer> Mailbox::drain(Stop stop) {
  const auto now = std::chrono::steady_clock::now();
  const auto empty = [&](const UniqueFd& box, auto accept, std::optional<Offer>& found) {
    while (offers_.size() < kHeld) {
      std::optional<Offer> offer = accept(box.get());
      if (!offer) break;
      offer->taken = now;
      if (stop(*offer)) {
        found = std::move(offer);
        return;
      }
      offers_.push_back(std::move(*offer));
    }
  };
  std::optional<Offer> found;
  empty(unix_, accept_unix, found);
  for (const UniqueFd& tcp : tcp_)
    if (!found) empty(tcp, accept_tcp, found);
  return found;
}

std::optional<Offer> Mailbox::take(const Endpoint& client, const Endpoint& server) {
  const std::lock_guard guard{mutex_};
  if (auto offer = take_held(client, server)) return offer;
  return drain(
      [&](const Offer& offer) { return offer.client == client && offer.server == server; });
}

std::optional<Offer> Mailbox::take_put(const Endpoint& client, const Endpoint& server) {
  const std::lock_guard guard{mutex_};
  return take_held(client, server);
}

std::optional<Offer> Mailbox::take_held(const Endpoint& client, const Endpoint& server) {
  const auto found = std::find_if(offers_.begin(), offers_.end(), [&](const Offer& offer) {
    return offer.client == client && offer.server == server;
  });
  if (found == offers_.end()) return std::nullopt;
  Offer offer = std::move(*found);
  offers_.erase(found);
  return offer;
}

void Mailbox::give_back(Offer offer) {
  const std::lock_guard guard{mutex_};
  offers_.insert(offers_.begin(), std::move(offer));
}

bool Mailbox::put(Offer offer, std::uint64_t seen) {
  const std::lock_guard guard{mutex_};
  if (offers_.size() >= kHeld || shut_ > 0 || seen != turns_.load()) return false;
  offer.taken = std::chrono::steady_clock::now();
  offers_.push_back(std::move(offer));
  return true;
}

bool Mailbox::shut() {
  const std::lock_guard guard{mutex_};
  drain([](const Offer&) { return false; });
  if (!offers_.empty()) return false;
  ++shut_;
  ++turns_;
  return true;
}

void Mailbox::open_again() {
  const std::lock_guard guard{mutex_};
  --shut_;
  ++turns_;
}

bool Mailbox::drop_older(std::chrono::milliseconds age) {
  const std::lock_guard guard{mutex_};
  drain([](const Offer&) { return false; });
  const auto limit = std::chrono::steady_clock::now() - age;
  std::erase_if(offers_, [&](Offer& offer) {
    const bool old = offer.taken < limit;
    if (old) drop(offer);
    return old;
  });
  return !offers_.empty();
}

Mailbox::~Mailbox() {
  for (Offer& offer : offers_) drop(offer);
}

void Mailbox::drop(Offer& offer) {
  if (offer.unclaimed) offer.unclaimed(std::move(offer.socket));
}

}  // namespace shunt::local
