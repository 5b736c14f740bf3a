#include "netstack/host/message.h"

#include <algorithm>

namespace shunt::host {
namespace {

using fabric::Bytes;
using fabric::View;

constexpr std::byte kVersion{1};
constexpr std::byte kDial{1};
constexpr std::byte kReady{2};
constexpr std::array<char, 8> kMagic{'s', 'h', 'u', 'n', 't', '-', 'h', '1'};

/// Big-endian, as everything that the control connection carries.
template <typename T>
void append(Bytes& bytes, T value) {
  for (std::size_t i = sizeof value; i-- > 0;)
    bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
}

template <typename T>
T number_at(View bytes, std::size_t at) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i)
    value = static_cast<T>(static_cast<std::uint64_t>(value) << 8U |
                           std::to_integer<std::uint64_t>(bytes[at + i]));
  return value;
}

}  // namespace

Bytes encode(const Hello& hello) {
  Bytes bytes{kVersion};
  for (const std::uint8_t byte : hello.listener.address) bytes.push_back(std::byte{byte});
  append(bytes, hello.listener.port);
  return bytes;
}

std::optional<Hello> decode_hello(View bytes) {
  constexpr std::size_t kLength = 19;
  if (bytes.size() < kLength || bytes[0] != kVersion) return std::nullopt;
  Hello hello;
  for (std::size_t i = 0; i < hello.listener.address.size(); ++i)
    hello.listener.address[i] = std::to_integer<std::uint8_t>(bytes[1 + i]);
  hello.listener.port = number_at<std::uint16_t>(bytes, 17);
  const IpAddress& address = hello.listener.address;
  if (hello.listener.port == 0 || is_unspecified(address) || is_loopback(address))
    return std::nullopt;
  return hello;
}

Bytes encode(const Message& message) {
  Bytes bytes;
  if (const auto* dial = std::get_if<Dial>(&message)) {
    bytes = {kDial, static_cast<std::byte>(dial->tickets.size())};
    for (const Ticket& ticket : dial->tickets) {
      append(bytes, ticket.number);
      bytes.insert(bytes.end(), ticket.token.begin(), ticket.token.end());
    }
  } else {
    const auto& numbers = std::get<Ready>(message).numbers;
    bytes = {kReady, static_cast<std::byte>(numbers.size())};
    for (const Number number : numbers) append(bytes, number);
  }
  return bytes;
}

std::optional<Message> decode_message(View bytes) {
  if (bytes.size() < 2) return std::nullopt;
  const auto count = std::to_integer<std::size_t>(bytes[1]);
  if (count == 0 || count > kMostAtOnce) return std::nullopt;
  const View rest = bytes.subspan(2);
  if (bytes[0] == kDial) {
    constexpr std::size_t kEach = sizeof(Number) + sizeof(Token);
    if (rest.size() != count * kEach) return std::nullopt;
    Dial dial;
    for (std::size_t i = 0; i < count; ++i) {
      Ticket ticket;
      ticket.number = number_at<Number>(rest, i * kEach);
      std::copy_n(rest.begin() + static_cast<std::ptrdiff_t>(i * kEach + sizeof(Number)),
                  ticket.token.size(), ticket.token.begin());
      dial.tickets.push_back(ticket);
    }
    return dial;
  }
  if (bytes[0] == kReady) {
    if (rest.size() != count * sizeof(Number)) return std::nullopt;
    Ready ready;
    for (std::size_t i = 0; i < count; ++i)
      ready.numbers.push_back(number_at<Number>(rest, i * sizeof(Number)));
    return ready;
  }
  return std::nullopt;
}

Bytes encode_offer(Number number) {
  Bytes bytes;
  append(bytes, number);
  return bytes;
}

std::optional<Number> decode_offer(View bytes) {
  if (bytes.size() != sizeof(Number)) return std::nullopt;
  return number_at<Number>(bytes, 0);
}

std::array<std::byte, kPrefaceLength> encode_preface(const Token& token) {
  std::array<std::byte, kPrefaceLength> bytes{};
  std::transform(kMagic.begin(), kMagic.end(), bytes.begin(),
                 [](char c) { return static_cast<std::byte>(c); });
  std::copy(token.begin(), token.end(), bytes.begin() + kMagic.size());
  return bytes;
}

std::optional<Token> decode_preface(View bytes) {
  if (bytes.size() != kPrefaceLength ||
      !std::equal(kMagic.begin(), kMagic.end(), bytes.begin(),
                  [](char c, std::byte byte) { return static_cast<std::byte>(c) == byte; }))
    return std::nullopt;
  Token token;
  std::copy_n(bytes.begin() + kMagic.size(), token.size(), token.begin());
  return token;
}

}  // namespace shunt::host
