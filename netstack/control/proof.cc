#include "netstack/control/proof.h"

#include <sha256.h>

#include <algorithm>
#include <cstring>
#include <span>

namespace shunt::control {
namespace {

constexpr std::size_t kBlock = 64;  // of SHA-256

class Hash {
 public:
  Hash() { SHA256_Init(&context_); }
  Hash& add(View bytes) {
    SHA256_Update(&context_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    return *this;
  }
  Digest finish() {
    Digest digest{};
    SHA256_Final(reinterpret_cast<std::uint8_t*>(digest.data()), &context_);
    return digest;
  }

 private:
  SHA256_CTX context_{};
};

View view(std::string_view text) { return std::as_bytes(std::span{text}); }

void append(Bytes& to, View bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

// The length in front: two different pairs of hellos never make the same text.
void append_sized(Bytes& to, View bytes) {
  for (unsigned shift = 0; shift < 32; shift += 8)
    to.push_back(static_cast<std::byte>((bytes.size() >> shift) & 0xff));
  append(to, bytes);
}

}  // namespace

Digest hmac_sha256(View key, View text) {
  std::array<std::byte, kBlock> padded{};
  if (key.size() > kBlock) {
    const Digest shorter = Hash{}.add(key).finish();
    std::copy(shorter.begin(), shorter.end(), padded.begin());
  } else {
    std::copy(key.begin(), key.end(), padded.begin());
  }
  std::array<std::byte, kBlock> inner{};
  std::array<std::byte, kBlock> outer{};
  for (std::size_t i = 0; i < kBlock; ++i) {
    inner.at(i) = padded.at(i) ^ std::byte{0x36};
    outer.at(i) = padded.at(i) ^ std::byte{0x5c};
  }
  return Hash{}.add(outer).add(Hash{}.add(inner).add(text).finish()).finish();
}

Digest prove(std::string_view key, Role prover, const Transcript& transcript) {
  Bytes text;
  append(text, view("shunt control proof 1"));
  text.push_back(static_cast<std::byte>(prover));
  append_sized(text, transcript.dialling_hello);
  append_sized(text, transcript.dialled_hello);
  append(text, std::as_bytes(std::span{transcript.dialling}));
  append(text, std::as_bytes(std::span{transcript.dialled}));
  return hmac_sha256(view(key), text);
}

bool same(const Digest& a, const Digest& b) {
  std::byte difference{};
  for (std::size_t i = 0; i < a.size(); ++i) difference |= a.at(i) ^ b.at(i);
  return difference == std::byte{};
}

}  // namespace shunt::control
