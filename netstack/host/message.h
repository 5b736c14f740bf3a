// The bytes that two shims exchange for the host fabric; the chapter "host" of WIRE.md. Encoders
// and decoders are pure; a decoder gives nothing for bytes that make no sense.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "netstack/base/endpoint.h"
#include "netstack/fabric/fabric.h"

namespace shunt::host {

/// Names a connection made ahead; given out by the side that dials it, never reused on a link.
using Number = std::uint32_t;
using Token = std::array<std::byte, 16>;  ///< random; shows who dialled, once

/// In HELLO: where this shim can be dialled on its node's network.
struct Hello {
  Endpoint listener;
};

/// "I am about to dial you; whoever shows the token is connection `number`."
struct Ticket {
  Number number = 0;
  Token token{};
};
struct Dial {
  std::vector<Ticket> tickets;
};
/// "These have arrived, you may offer them."
struct Ready {
  std::vector<Number> numbers;
};
using Message = std::variant<Dial, Ready>;

inline constexpr std::size_t kMostAtOnce = 64;     ///< tickets or numbers in a message
inline constexpr std::size_t kPrefaceLength = 24;  ///< first bytes on the connection itself

fabric::Bytes encode(const Hello& hello);
std::optional<Hello> decode_hello(fabric::View bytes);
fabric::Bytes encode(const Message& message);
std::optional<Message> decode_message(fabric::View bytes);
/// In OFFER: which of the connections.
fabric::Bytes encode_offer(Number number);
std::optional<Number> decode_offer(fabric::View bytes);

std::array<std::byte, kPrefaceLength> encode_preface(const Token& token);
std::optional<Token> decode_preface(fabric::View bytes);

}  // namespace shunt::host
