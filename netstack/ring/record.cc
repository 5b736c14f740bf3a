#include "netstack/ring/record.h"

#include <algorithm>
#include <cstring>

namespace shunt::ring {
namespace {

constexpr std::size_t padded(std::size_t length) { return (length + 7) & ~std::size_t{7}; }

std::size_t payload_size(const Record& record) {
  switch (record.op) {
    case Op::kInline:
    case Op::kUrgent:
      return record.bytes.size();
    case Op::kData:
    case Op::kCredit:
    case Op::kReset:
      return 8;
    case Op::kGrant:
      return 16;
    case Op::kWant:
    case Op::kMoved:
    case Op::kRelease:
    case Op::kReclaim:
    case Op::kFinish:
      break;
  }
  return 0;
}

template <typename T>
void put(std::byte* at, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) at[i] = static_cast<std::byte>(value >> (8 * i));
}

template <typename T>
T get(const std::byte* at) {
  T value = 0;
  for (std::size_t i = sizeof value; i-- > 0;)
    value = static_cast<T>(value << 8 | std::to_integer<T>(at[i]));
  return value;
}

Error nonsense() { return {EPROTO, "ring record"}; }

}  // namespace

std::size_t encoded_size(const Record& record) {
  return kHeaderSize + padded(payload_size(record));
}

void encode(const Record& record, std::vector<std::byte>& out) {
  const std::size_t at = out.size();
  out.resize(at + encoded_size(record));  // zeros
  std::byte* header = out.data() + at;
  header[0] = static_cast<std::byte>(record.op);
  put(header + 2, static_cast<std::uint16_t>(payload_size(record)));
  put(header + 4, record.stream);
  std::byte* payload = header + kHeaderSize;
  switch (record.op) {
    case Op::kInline:
    case Op::kUrgent:
      std::memcpy(payload, record.bytes.data(), record.bytes.size());
      break;
    case Op::kData:
    case Op::kCredit:
      put(payload, record.cursor);
      break;
    case Op::kReset:
      put(payload, record.error);
      break;
    case Op::kGrant:
      put(payload, record.offset);
      put(payload + 4, record.size);
      put(payload + 8, record.key);
      break;
    default:
      break;
  }
}

Result<Record> decode(std::span<const std::byte>& rest) {
  if (rest.size() < kHeaderSize) return nonsense();
  const auto op = std::to_integer<std::uint8_t>(rest[0]);
  const std::size_t length = get<std::uint16_t>(&rest[2]);
  if (op < static_cast<std::uint8_t>(Op::kInline) || op > static_cast<std::uint8_t>(Op::kUrgent))
    return nonsense();
  if (rest[1] != std::byte{0} || kHeaderSize + padded(length) > rest.size()) return nonsense();
  Record record{.op = static_cast<Op>(op), .stream = get<std::uint32_t>(&rest[4]), .bytes = {}};
  const auto payload = rest.subspan(kHeaderSize, length);
  const auto padding = rest.subspan(kHeaderSize + length, padded(length) - length);
  if (std::any_of(padding.begin(), padding.end(), [](std::byte b) { return b != std::byte{0}; }))
    return nonsense();
  if (record.op == Op::kInline || record.op == Op::kUrgent) {
    const std::size_t most = record.op == Op::kInline ? kMostInline : 1;
    if (length == 0 || length > most) return nonsense();
    record.bytes = payload;
  } else if (length != payload_size(record)) {
    return nonsense();
  } else if (record.op == Op::kData || record.op == Op::kCredit) {
    record.cursor = get<std::uint64_t>(payload.data());
  } else if (record.op == Op::kReset) {
    record.error = get<std::uint32_t>(payload.data());
    if (get<std::uint32_t>(&payload[4]) != 0) return nonsense();
  } else if (record.op == Op::kGrant) {
    record.offset = get<std::uint32_t>(payload.data());
    record.size = get<std::uint32_t>(&payload[4]);
    record.key = get<std::uint32_t>(&payload[8]);
    if (get<std::uint32_t>(&payload[12]) != 0) return nonsense();
  }
  rest = rest.subspan(kHeaderSize + padded(length));
  return record;
}

}  // namespace shunt::ring
