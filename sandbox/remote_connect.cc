// The client's half across nodes.
//
//   connect()   the answering thread: what may be used; the call is kept
//   begin       a route, and a stream on its link: our end
//   opened      OFFER
//   answered    ACCEPT: the other end lies in the listener's mailbox, and will be handed out
//                       unless we withdraw
//   swap        the descriptor is replaced, CONFIRM, the TCP connection is reset
//   stay        at any point before that: the program keeps the TCP connection, which is what it
//               has all the time
//
// A call that a signal ended in between comes again, and waits: it is answered in place of the
// first.

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "netstack/base/log.h"
#include "netstack/host/host_fabric.h"
#include "sandbox/host_rights.h"
#include "sandbox/remote.h"
#include "sandbox/short_lived.h"

namespace shunt::sandbox {
namespace {

using fabric::Kind;
using namespace std::chrono_literals;

constexpr auto kLongest = 500ms;  // for one connect; the protocol has shorter bounds of its own

Path path_over(Kind kind) {
  switch (kind) {
    case Kind::kWindow:
    case Kind::kMemory:
      return Path::kOverWindow;
    case Kind::kVerbs:
      return Path::kOverVerbs;
    case Kind::kHost:
      break;
  }
  return Path::kOverHost;
}

Path why(control::Refusal refusal) {
  switch (refusal) {
    case control::Refusal::kNotListening:
      return Path::kNotPublished;
    case control::Refusal::kNotKnown:
      return Path::kNotAtServer;
    case control::Refusal::kGoneAhead:
      return Path::kServerWentAhead;
    case control::Refusal::kNoRoom:
      return Path::kFabricFull;
    case control::Refusal::kNoAnswer:
      return Path::kPeerSilent;
    case control::Refusal::kLost:
      return Path::kPeerLost;
    case control::Refusal::kBusy:
    case control::Refusal::kOther:
      break;
  }
  return Path::kPeerRefused;
}

}  // namespace

struct Remote::Connect {
  CallId call;
  GuestFd number{};
  Established connection;
  local::FastName name;
  std::vector<Kind> only;
  control::Route route;
  UniqueFd application;
  Clock::time_point until{};

  /// The call itself, or the same one come again after a signal.
  CallId to_answer() {
    if (call.waiting()) return call;
    return connection.hold.successor(call, static_cast<int>(number)).value_or(call);
  }
};

Reply Remote::connect(Call& call, Established connection, const local::FastName& name) {
  // Real TCP where the program could see the difference; nothing of the node's for a program that
  // could reconfigure the node with it.
  const bool real_tcp =
      lingers_zero(connection.tcp.get()) || call.container().pair == config::Pair::kTcp;
  const bool privileged = call.container().may_reconfigure_node(call.guest.tid());
  if (real_tcp && privileged) {
    services_.statistics.count(Path::kPrivileged);
    pass(name);
    return on_tcp(services_, connection);
  }
  std::vector<Kind> only;
  if (real_tcp) only.push_back(Kind::kHost);
  if (privileged) {
    only.push_back(Kind::kVerbs);
    only.push_back(Kind::kWindow);
  }
  auto op = std::make_shared<Connect>();
  op->call = call.identity;
  op->number = call.fd();
  op->connection = std::move(connection);
  op->name = name;
  op->only = std::move(only);
  op->until = Clock::now() + bound(kLongest);
  post([this, op] { begin(op); });
  return Later{};
}

void Remote::pass(const local::FastName& name) {
  post([this, name] { peers_->pass(name.server.address, name.client, name.server); });
}

void Remote::pass_all(const IpAddress& client, const Endpoint& server) {
  post([this, client, server] { peers_->pass(server.address, {client, 0}, server); });
}

/// The server's side is not left with a stream that nobody speaks for.
void Remote::give_up(const Connect& op) {
  peers_->withdraw(op.route);
  if (fabric::Link* link = peers_->link(op.route)) link->abandon(op.route.stream);
}

void Remote::begin(const Connecting& op) {
  connects_.insert(op);
  if (op->until < Clock::now()) return stay(op, Path::kPeerSilent, true);  // we were held up
  const IpAddress& peer = op->name.server.address;
  const auto route = peers_->route(peer, op->only);
  if (!route) {
    const bool other = !op->only.empty() && peers_->route(peer);
    const bool host_only = op->only.size() == 1;
    stay(op, other && !host_only ? Path::kPrivileged : Path::kNoLink, true);
    return;
  }
  op->route = *route;
  peers_->link(op->route)->open(
      op->route.stream, [this, op] { return make_client_ends(*op); },
      [this, op](Result<fabric::Half> half) { opened(op, std::move(half)); });
}

// The application's end is named like any fast socket; ours is what the engine's listener accepts.
Result<fabric::Ends> Remote::make_client_ends(const Connect& op) {
  auto ends = join_ends(op.name, engine_.get());
  if (ends) std::swap(ends->application, ends->ours);
  return ends;
}

/// `ours` bears the name, `application` comes out of the listener.
Result<fabric::Ends> Remote::join_ends(const local::FastName& name, int listener) const {
  const std::size_t room = network_.options().send_buffer;
  fabric::Ends ends;
  ends.ours = UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (const Status bound = local::bind_name(ends.ours.get(), name); !bound) return bound.error();
  local::prepare_unix_end(ends.ours.get(), room);
  SockAddress target;
  target.length = sizeof target.storage;
  if (::getsockname(listener, target.get(), &target.length) < 0 ||
      ::connect(ends.ours.get(), target.get(), target.length) < 0)
    return last_error("connect");
  ends.application = UniqueFd{::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!ends.application.valid()) return last_error("accept4");
  local::prepare_accepted_end(ends.application.get(), room);
  local::stamp(ends.application.get());
  return ends;
}

void Remote::opened(const Connecting& op, Result<fabric::Half> half) {
  if (half && !connects_.contains(op)) half = Error{ECANCELED, ""};  // it has taken too long
  if (!half) {
    if (auto* link = peers_->link(op->route)) link->abandon(op->route.stream);
    const int error = half.error().number;
    stay(op,
         error == EADDRINUSE     ? Path::kNameInUse
         : error == ENAMETOOLONG ? Path::kNameTooLong
         : error == ECONNRESET   ? Path::kPeerLost
                                 : Path::kFabricFull,
         true);
    return;
  }
  op->application = std::move(half->application);
  control::Offer offer;
  offer.client = op->name.client;
  offer.server = op->name.server;
  offer.service = op->name.service;
  offer.client_family = op->name.client_family;
  offer.message = std::move(half->message);
  peers_->offer(op->route, std::move(offer),
                [this, op](Result<control::Accept, control::Refusal> answer) {
                  answered(op, std::move(answer));
                });
}

void Remote::answered(const Connecting& op, Result<control::Accept, control::Refusal> answer) {
  fabric::Link* link = peers_->link(op->route);
  if (!connects_.contains(op)) return give_up(*op);
  if (!answer) {
    op->application.reset();
    if (link != nullptr) link->abandon(op->route.stream);
    const bool ahead =
        answer.error() == control::Refusal::kGoneAhead || answer.error() == control::Refusal::kBusy;
    if (ahead && services_.short_lived != nullptr)
      services_.short_lived->in_vain(op->call.tid, op->connection.target, Clock::now());
    stay(op, why(answer.error()), false);
    return;
  }
  op->name.server_family = answer->server_family;
  Status completed = link == nullptr ? Status{Error{ECONNRESET, "link"}}
                                     : link->complete(op->route.stream, answer->message);
  if (completed && op->route.kind == Kind::kHost)
    completed = host::as_family(op->application.get(), op->connection.family);
  if (!completed) {
    log::debug("sandbox", "fabric: {}", describe(completed.error()));
    op->application.reset();
    give_up(*op);
    stay(op, link == nullptr ? Path::kPeerLost : Path::kSupervisorError, false);
    return;
  }
  swap(op);
}

void Remote::swap(const Connecting& op) {
  const Kind kind = op->route.kind;
  const int tcp = op->connection.tcp.get();
  const int fast = op->application.get();
  std::uint64_t fast_cookie = 0;
  if (const auto cookie = socket_cookie(fast)) fast_cookie = *cookie;
  local::carry_socket_options(tcp, fast);
  bool kept = true;
  if (kind == Kind::kHost) {
    carry_buffers(tcp, fast);
    apply_options(fast, *op->connection.noted);
    local::stamp(fast);
    kept = sockets_.add(fast, {op->name, true});
  } else {
    services_.notes.put(fast_cookie, op->connection.noted);
    remember_stream(op->name, true, kind);
  }
  connects_.erase(op);
  const CallId call = op->to_answer();
  ProcessGuest guest{call.tid, call.id, call.container->notify, pidfds_};
  if (!kept || !repair_epolls(services_, guest, op->number, fast)) {
    op->application.reset();
    give_up(*op);
    services_.statistics.count(Path::kSupervisorError);
    deliver(services_, call, on_tcp(services_, op->connection));
    return op->connection.hold.release();
  }
  if ((op->connection.info.flags & O_NONBLOCK) == 0) ::fcntl(fast, F_SETFL, 0);
  deliver(services_, call,
          put_in_place(services_, call, op->number, std::move(op->connection), watch_,
                       {std::move(op->application), fast_cookie, path_over(kind), op->name,
                        [this, op](bool upgraded) {
                          if (upgraded) return peers_->confirm(op->route);
                          give_up(*op);
                        }}));
}

void Remote::stay(const Connecting& op, Path reason, bool pass) {
  if (connects_.erase(op) == 0) return;
  const CallId call = op->to_answer();
  services_.statistics.count(reason);
  if (pass) peers_->pass(op->name.server.address, op->name.client, op->name.server);
  deliver(services_, call, on_tcp(services_, op->connection));
  op->connection.hold.release();
}

// A fabric that never answers must not hold a program up.
void Remote::keep_house() {
  std::vector<Connecting> late;
  for (const Connecting& op : connects_)
    if (op->until < Clock::now()) late.push_back(op);
  for (const Connecting& op : late) {
    op->application.reset();
    give_up(*op);
    stay(op, Path::kPeerSilent, true);
  }
  reset_unclaimed();
  loop_.after(kHousekeeping, [this] { keep_house(); });
}

}  // namespace shunt::sandbox
