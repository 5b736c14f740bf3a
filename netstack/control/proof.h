// The cluster key: HMAC-SHA256 (RFC 2104, FIPS 180-4; SHA-256 itself from libmd) and what it is
// taken over.
#pragma once

#include <string_view>

#include "netstack/control/message.h"

namespace shunt::control {

Digest hmac_sha256(View key, View text);

enum class Role : std::uint8_t { kDialled, kDialling };

/// What both sides said, and where: differs for each connection, each side and each pair of pods.
struct Transcript {
  View dialling_hello;  ///< payload of HELLO as it was on the wire
  View dialled_hello;
  IpAddress dialling{};
  IpAddress dialled{};
};
Digest prove(std::string_view key, Role prover, const Transcript& transcript);

/// In a time that does not tell how much of them is equal.
bool same(const Digest& a, const Digest& b);

}  // namespace shunt::control
