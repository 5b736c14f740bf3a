#include "netstack/control/not_shunt.h"

#include <utility>

namespace shunt::control {

void NotShunt::put(const IpAddress& address, Failure failure, bool banned, Clock::time_point now) {
  // Most sentences follow from the rest: see sentence().
  if (failure.what != Failure::What::kBye) failure.why = {};
  drop(address);
  entries_.push_back({address, now, std::move(failure), banned});
  by_address_[address] = std::prev(entries_.end());
  while (!entries_.empty() && (entries_.size() > limit_ || now - entries_.front().since >= hold_))
    drop(entries_.front().address);
}

void NotShunt::drop(const IpAddress& address) {
  const auto found = by_address_.find(address);
  if (found == by_address_.end()) return;
  const auto entry = found->second;  // `address` may be the entry's own
  by_address_.erase(found);
  entries_.erase(entry);
}

const NotShunt::Entry* NotShunt::find(const IpAddress& address, Clock::time_point now) const {
  const auto found = by_address_.find(address);
  if (found == by_address_.end() || now - found->second->since >= hold_) return nullptr;
  return &*found->second;
}

std::string sentence(const Failure& failure) {
  using What = Failure::What;
  const auto told = [&](const std::string& text) {
    return failure.why.empty() ? text : text + ": " + failure.why;
  };
  switch (failure.what) {
    case What::kRefused:
      return "nobody listens on the control port";
    case What::kSilent:
      return "the control port does not answer";
    case What::kUnreachable:
      return "not to be reached: " + errno_name(failure.error);
    case What::kLocal:
      return told("could not be asked");
    case What::kNotShunt:
      return told("what listens on the control port is no shim");
    case What::kBye:
      return told(std::string{name(failure.reason)});
    case What::kOver:
      return "closed";
  }
  return {};
}

}  // namespace shunt::control
