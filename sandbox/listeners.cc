#include "sandbox/listeners.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>

#include "netstack/base/log.h"
#include "sandbox/living.h"
#include "sandbox/socket_notes.h"

namespace shunt::sandbox {

Listeners::Listeners() : living_{::epoll_create1(EPOLL_CLOEXEC)} {}

std::shared_ptr<Listener> Listeners::enter(int socket, PodNetwork* network) {
  const auto cookie = socket_cookie(socket);
  if (!cookie) return nullptr;
  const std::lock_guard guard{mutex_};
  if (const auto found = listeners_.find(*cookie); found != listeners_.end()) return found->second;

  const auto local = local_endpoint(socket);
  if (!local) return nullptr;
  int family = 0;
  socklen_t length = sizeof family;
  ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &length);

  // A server that takes another one's place does not take over what was said of that one.
  forget_closed(network);
  auto listener = std::make_shared<Listener>();
  listener->cookie = *cookie;
  listener->family = family;
  listener->local = *local;
  epoll_event event{};  // no events: it only has to be listed
  event.data.u64 = *cookie;
  if (::epoll_ctl(living_.get(), EPOLL_CTL_ADD, socket, &event) < 0) return nullptr;
  listeners_.emplace(*cookie, listener);
  count_ = listeners_.size();
  if (network == nullptr || network->host_network()) return listener;

  auto& known = mailboxes_[{local->port, family}];
  listener->mailbox = known.lock();
  if (listener->mailbox == nullptr) {
    std::vector<IpAddress> addresses;
    if (is_unspecified(local->address)) {
      addresses = network->addresses();
    } else if (!is_loopback(local->address)) {
      addresses.push_back(local->address);
    }
    auto mailbox = local::Mailbox::open(network->netns(), local->port, family, addresses);
    if (mailbox) {
      listener->mailbox = std::move(*mailbox);
      known = listener->mailbox;
    } else {
      log::info("sandbox", "port {} is not published: {}", local->port, describe(mailbox.error()));
    }
  }
  return listener;
}

std::shared_ptr<Listener> Listeners::find(std::uint64_t cookie) const {
  const std::lock_guard guard{mutex_};
  const auto found = listeners_.find(cookie);
  return found == listeners_.end() ? nullptr : found->second;
}

bool Listeners::forget_closed(PodNetwork* network) {
  const auto alive = living(living_.get());
  if (!alive) return false;
  std::erase_if(listeners_, [&](const auto& entry) {
    Listener& listener = *entry.second;
    const bool closed = !alive->contains(entry.first);
    if (network != nullptr && closed)
      listener.left_to_kernel.end(network->table(), listener.mailbox.get());
    if (network != nullptr && !closed)
      listener.left_to_kernel.look_after(network->table(), listener.mailbox.get());
    return closed;
  });
  count_ = listeners_.size();
  std::erase_if(mailboxes_, [](const auto& entry) { return entry.second.expired(); });
  return true;
}

void Listeners::sweep(PodNetwork* network) {
  const std::lock_guard guard{mutex_};  // before the look: what is entered meanwhile is not listed
  if (!forget_closed(network) || network == nullptr) return;
  for (const auto& [key, weak] : mailboxes_) {
    const auto mailbox = weak.lock();
    if (mailbox == nullptr || !mailbox->drop_older(std::chrono::hours{24})) continue;
    const auto waiting = network->waiting_at(key.first);
    if (!waiting || *waiting != 0) continue;
    // Asked afterwards: a thread of ours may have been stopped between its accept and the offer.
    const bool arriving = std::any_of(listeners_.begin(), listeners_.end(), [&](const auto& entry) {
      return entry.second->mailbox == mailbox && entry.second->arriving.use_count() > 1;
    });
    if (!arriving) mailbox->drop_older(std::chrono::milliseconds{500});
  }
}

std::shared_ptr<local::Mailbox> Listeners::mailbox(std::uint16_t port, int family) const {
  const std::lock_guard guard{mutex_};
  const auto found = mailboxes_.find({port, family});
  return found == mailboxes_.end() ? nullptr : found->second.lock();
}

bool Listeners::privileged(std::uint16_t port, int family) const {
  const std::lock_guard guard{mutex_};
  return std::any_of(listeners_.begin(), listeners_.end(), [&](const auto& entry) {
    const Listener& listener = *entry.second;
    return listener.local.port == port && listener.family == family && listener.privileged.load();
  });
}

std::vector<std::shared_ptr<Listener>> Listeners::all() const {
  const std::lock_guard guard{mutex_};
  std::vector<std::shared_ptr<Listener>> result;
  for (const auto& [cookie, listener] : listeners_) result.push_back(listener);
  return result;
}

}  // namespace shunt::sandbox
