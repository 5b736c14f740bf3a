// The messages of the control connection between two shims, as values. WIRE.md has the bytes.
//
// Whoever reads a peer's message checks it: decoding only makes sure that it is well formed.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "netstack/base/endpoint.h"
#include "netstack/fabric/fabric.h"

namespace shunt::control {

using fabric::Bytes;
using fabric::Kind;
using fabric::StreamId;
using fabric::View;

constexpr std::uint16_t kSpoken = 1;        ///< what we speak best
constexpr std::uint16_t kOldestSpoken = 1;  ///< the oldest we still speak
constexpr std::size_t kMaxFrame = 65536;    ///< type and payload
constexpr std::size_t kMaxText = 255;       ///< names, sentences
constexpr std::size_t kMaxAdvert = 512;     ///< what a fabric tells in INFO
constexpr std::size_t kMaxFabrics = 8;
constexpr std::size_t kMaxStreamBytes = 4096;  ///< of a fabric, in OFFER and ANSWER
constexpr std::size_t kMaxLinkBytes = 65000;   ///< of a fabric, in LINK

using Nonce = std::array<std::byte, 32>;
using Digest = std::array<std::byte, 32>;

/// Why a control connection ends. The numbers are those of WIRE.md.
enum class Reason : std::uint8_t {
  kClosing = 1,      ///< the pod goes away
  kIdle = 2,         ///< nothing to do for a long time
  kVersion = 3,      ///< no version that both speak
  kKey = 4,          ///< one side has a cluster key and the other none, or another
  kNotVerified = 5,  ///< the caller's own shim did not vouch for the call
  kDuplicate = 6,    ///< another connection between the two is kept
  kProtocol = 7,     ///< bytes that make no sense
  kFlood = 8,        ///< more than agreed
  kBusy = 9,         ///< no room for another peer
};

/// Why a connection is not upgraded. Those from 128 on never travel: they happen at the asking
/// side.
enum class Refusal : std::uint8_t {
  kNotListening = 1,  ///< no published listener there
  kNotKnown = 2,      ///< the kernel there does not know the TCP connection
  kGoneAhead = 3,     ///< the server's program has it on TCP already
  kNoRoom = 4,        ///< the fabric has no memory or no streams left
  kBusy = 5,          ///< too many offers wait
  kOther = 6,
  kNoAnswer = 128,  ///< none within the bound; it has been withdrawn
  kLost = 129,      ///< the link or the control connection ended meanwhile
};
std::string_view name(Reason reason);
std::string_view name(Refusal refusal);

/// First from both sides.
struct Hello {
  std::uint16_t version = kSpoken;
  std::uint16_t min_version = kOldestSpoken;
  bool keyed = false;          ///< has a cluster key and insists on it
  std::uint64_t instance = 0;  ///< random for each life of a shim
  Nonce nonce{};
  bool operator==(const Hello&) const = default;
};

/// On a connection of its own, called side to caller: is a call of yours from this port, with this
/// nonce, under way?
struct Verify {
  std::uint16_t version = kSpoken;
  std::uint16_t min_version = kOldestSpoken;
  std::uint16_t port = 0;
  Nonce nonce{};
  bool operator==(const Verify&) const = default;
};
struct Verified {
  bool yours = false;
  bool operator==(const Verified&) const = default;
};

/// HMAC-SHA256 with the cluster key: see proof.h.
struct Proof {
  Digest digest{};
  bool operator==(const Proof&) const = default;
};

/// Last of the handshake: only a peer whose identity is sure gets it.
struct Info {
  std::string node;         ///< names the node
  std::uint64_t epoch = 0;  ///< boot of the node
  std::string pod;
  std::uint32_t offers = 0;  ///< how many of the other side's may wait for an answer here
  struct Advert {
    Kind kind{};
    Bytes bytes;
    bool operator==(const Advert&) const = default;
  };
  std::vector<Advert> fabrics;
  bool operator==(const Info&) const = default;
};

/// One TCP connection that could travel another way. Addresses as the server's side sees them.
struct Offer {
  StreamId stream = 0;
  Kind kind{};
  Endpoint client;
  Endpoint server;
  Endpoint service;             ///< what the program asked for; `server` if nothing was translated
  int client_family = AF_INET;  ///< of the client's socket: AF_INET or AF_INET6
  Bytes message;                ///< from Link::open
  bool operator==(const Offer&) const = default;
};
/// Answer to an offer: yes.
struct Accept {
  StreamId stream = 0;
  int server_family = AF_INET;
  Bytes message;  ///< from Link::accept
  bool operator==(const Accept&) const = default;
};
/// Answer to an offer: no.
struct Refuse {
  StreamId stream = 0;
  Refusal why = Refusal::kOther;
  bool operator==(const Refuse&) const = default;
};
/// The client's program has the stream now.
struct Confirm {
  StreamId stream = 0;
  bool operator==(const Confirm&) const = default;
};
/// The client's program stays on TCP.
struct Withdraw {
  StreamId stream = 0;
  bool operator==(const Withdraw&) const = default;
};
/// No offer will come for this TCP connection; with the client's port 0, for any of the client's to
/// that server for two seconds.
struct Pass {
  Endpoint client;
  Endpoint server;
  bool operator==(const Pass&) const = default;
};

/// Both sides are to set up the link of this kind. The dialling side counts attempts.
struct LinkStart {
  Kind kind{};
  std::uint32_t attempt = 0;
  bool operator==(const LinkStart&) const = default;
};
/// The sender's half of the link is there: it may be offered streams.
struct LinkReady {
  Kind kind{};
  std::uint32_t attempt = 0;
  bool operator==(const LinkReady&) const = default;
};
/// The sender has no such link, or no longer.
struct LinkEnd {
  Kind kind{};
  std::uint32_t attempt = 0;
  std::string why;  ///< a sentence for people
  bool operator==(const LinkEnd&) const = default;
};
/// From a link to its other half.
struct LinkMessage {
  Kind kind{};
  std::uint32_t attempt = 0;
  Bytes bytes;
  bool operator==(const LinkMessage&) const = default;
};

struct Ping {
  std::uint64_t token = 0;
  bool operator==(const Ping&) const = default;
};
struct Pong {
  std::uint64_t token = 0;
  bool operator==(const Pong&) const = default;
};
/// Nothing follows it.
struct Bye {
  Reason reason = Reason::kClosing;
  std::string why;  ///< a sentence for people
  bool operator==(const Bye&) const = default;
};
/// Of a type from 128 on that this version does not know: skipped.
struct Unknown {
  std::uint8_t type = 0;
  bool operator==(const Unknown&) const = default;
};

using Message =
    std::variant<Hello, Verify, Verified, Proof, Info, Offer, Accept, Refuse, Confirm, Withdraw,
                 Pass, LinkStart, LinkReady, LinkEnd, LinkMessage, Ping, Pong, Bye, Unknown>;

}  // namespace shunt::control
