// How the bytes of connections travel between two shims on different nodes: the one interface that
// every fabric has. fabric_contract_test.cc runs the same tests over all of them.
//
//   Fabric   what this host can offer (one per shim and kind): host, window, verbs, memory
//   Link     one fabric between this shim and one peer shim; carries any number of streams
//   stream   one connection: a socket for the application at each side
//
// The control connection (netstack/control) carries the opaque bytes that the two ends of a fabric
// tell each other: in HELLO what they can, then to set up a link, then in OFFER and ANSWER for each
// stream. They come from another node: every fabric checks them before use.
//
//   opening side                                          accepting side
//   link->open(id) -> {application's end, offer bytes}
//                              -- OFFER -->               link->accept(id, bytes)
//                                                            -> {application's end, answer bytes}
//   link->complete(id, bytes)  <-- ANSWER --
//
// Everything here is called, and calls back, on the one thread that runs the shim's fabric loop.
// A callback may come before the function that takes it has returned.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "netstack/base/endpoint.h"
#include "netstack/base/move_function.h"
#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt::fabric {

/// The numbers are those of WIRE.md.
enum class Kind : std::uint8_t { kMemory = 0, kHost = 1, kWindow = 2, kVerbs = 3 };
std::string_view name(Kind kind);

using Bytes = std::vector<std::byte>;
using View = std::span<const std::byte>;

/// Names a stream on its link, alike at both ends. The control connection gives them out: the side
/// that dialled it uses odd numbers, the other one even ones; never reused while the link lives.
using StreamId = std::uint32_t;

/// The application's socket, and the one a fabric that moves bytes itself reads and writes.
/// Connected to each other, both non-blocking, with room for many small writes.
struct Ends {
  UniqueFd application;
  UniqueFd ours;
};
/// Makes them when a fabric needs them: the caller knows how they are to be named.
using MakeEnds = MoveFunction<Result<Ends>()>;

struct Half {
  UniqueFd application;  ///< non-blocking
  Bytes message;         ///< for the other side
};
using HalfDone = MoveFunction<void(Result<Half>)>;

/// What `inspect` shows of one stream.
struct StreamView {
  StreamId id = 0;
  std::string state;           ///< "open", "half-closed", ...
  std::uint64_t sent = 0;      ///< bytes given to the fabric
  std::uint64_t received = 0;  ///< bytes given to the application
  std::uint64_t credit = 0;    ///< bytes that may be sent before the peer has read more
  std::uint64_t ring = 0;      ///< bytes of ring memory held here
  std::uint64_t stalls = 0;    ///< times it had bytes and no credit
};

/// What `inspect` shows of a link. `counters` are the fabric's own, with names for people.
struct LinkView {
  Kind kind{};
  std::string state;
  std::vector<StreamView> streams;
  std::vector<std::pair<std::string, std::uint64_t>> counters;
};

class Link {
 public:
  virtual ~Link() = default;  ///< resets the streams it still carries

  /// Opening side. ENOBUFS, EMFILE: no memory, no streams left: not on this fabric, now.
  virtual void open(StreamId id, MakeEnds ends, HalfDone done) = 0;
  /// Accepting side. EPROTO: bytes that make no sense; the link goes on.
  virtual void accept(StreamId id, View offer, MakeEnds ends, HalfDone done) = 0;
  /// Opening side, with the peer's answer. Only then does the application get its end.
  virtual Status complete(StreamId id, View answer) = 0;
  /// Either side: the stream is not to be (refused, withdrawn). Its sockets hang up.
  virtual void abandon(StreamId id) = 0;

  /// Peer-to-peer bytes of the fabric's own, outside of streams (see LinkSetup::send).
  virtual void on_message(View message) = 0;

  /// Whether an application here has ended and not all that it said has left: for a shim about to
  /// end. Looks at every stream.
  virtual bool owes() const { return false; }
  virtual LinkView view() const = 0;
};

/// What a fabric gets to build a link.
struct LinkSetup {
  bool dialled = false;   ///< we opened the control connection
  std::string peer_name;  ///< for logs
  Endpoint peer;          ///< the peer pod, as its address on the control connection says
  Bytes hello;            ///< what the same fabric of the peer advertised
  /// Sends bytes to the peer's Link::on_message, in order, over the control connection.
  MoveFunction<void(Bytes)> send;
  /// The link cannot go on (errno): all its streams have been reset. Called at most once; the
  /// owner then destroys the link, not from inside the call.
  MoveFunction<void(Error)> failed;
};
using LinkDone = MoveFunction<void(Result<std::unique_ptr<Link>>)>;

class Fabric {
 public:
  virtual ~Fabric() = default;
  virtual Kind kind() const = 0;
  /// For HELLO, at most 512 bytes.
  virtual Bytes advertise() const = 0;
  /// Whether a link to a peer that advertised this is worth trying; a sentence if not.
  virtual Result<std::monostate, std::string> fits(View hello) const = 0;
  /// Both sides call it once both have sent HELLO. Messages may arrive for the link before `done`:
  /// the owner keeps them until then. Bounded in time by the fabric (seconds).
  virtual void link(LinkSetup setup, LinkDone done) = 0;
};

}  // namespace shunt::fabric
