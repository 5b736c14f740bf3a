#include "netstack/verbs/fabric_pair.h"

#include <cstdio>
#include <cstdlib>
#include <optional>

namespace shunt::verbs {
namespace {

std::unique_ptr<fabric::Fabric> need(Result<std::unique_ptr<fabric::Fabric>> made) {
  if (made) return std::move(*made);
  std::fprintf(stderr, "%s\n", describe(made.error()).c_str());
  std::abort();
}

}  // namespace

FabricPair::FabricPair(EventLoop& loop_in, Calls& calls, const Options& options) : loop{loop_in} {
  dialled.fabric = need(make_fabric(loop, calls, options));
  listened.fabric = need(make_fabric(loop, calls, options));
}

fabric::LinkSetup FabricPair::setup(Party& own, Party& other, bool dialled_side) {
  fabric::LinkSetup made;
  made.dialled = dialled_side;
  made.peer_name = dialled_side ? "listened" : "dialled";
  made.hello = other.fabric->advertise();
  made.send = [this, &own, &other, attempt = attempt_](fabric::Bytes bytes) {
    if (own.lose && own.lose(bytes)) return;
    loop.post(
        [this, &other, attempt, bytes = std::move(bytes), alive = std::weak_ptr<bool>{alive_}] {
          if (alive.expired() || attempt != attempt_ || other.receives == nullptr) return;
          other.receives->on_message(bytes);
        });
  };
  made.failed = [&own](Error error) {
    if (own.failed) own.failed(error);
  };
  return made;
}

Status FabricPair::link() {
  ++attempt_;
  std::optional<Error> error;
  const auto keep = [&error](Party& party) {
    return [&error, &party](Result<std::unique_ptr<fabric::Link>> made) {
      if (made) {
        party.link = std::move(*made);
        party.receives = party.link.get();
      } else {
        error = made.error();
      }
    };
  };
  dialled.fabric->link(setup(dialled, listened, true), keep(dialled));
  listened.fabric->link(setup(listened, dialled, false), keep(listened));
  if (error) return *error;
  return Done{};
}

}  // namespace shunt::verbs
