// One slot for each fabric of ours:
//
//   kAbsent   the peer does not have this fabric
//   kDown     no attempt is under way; the dialling side starts one when it is due
//   kSetting  Fabric::link() has been called and has not called back
//   kMine     our half is there, the peer's is not (as far as we know)
//   kUp       both are
//
// A fabric calls back with a weak reference to its slot and the number of the attempt: whatever
// comes for an attempt that is over finds nothing.
#include "netstack/control/links.h"

#include <algorithm>
#include <utility>

namespace shunt::control {

using Clock = EventLoop::Clock;
using std::chrono::seconds;

namespace {
constexpr seconds kFirstPause{1};
constexpr seconds kLongestPause{60};
}  // namespace

struct Links::Slot : std::enable_shared_from_this<Slot> {
  enum class Phase : std::uint8_t { kAbsent, kDown, kSetting, kMine, kUp };
  fabric::Fabric* fabric = nullptr;
  Kind kind{};
  Bytes advert;  ///< the peer's
  Phase phase = Phase::kAbsent;
  std::uint32_t attempt = 0;
  std::uint64_t session = 0;  ///< of kUp
  bool peer_ready = false;
  bool again = false;  ///< a retry is planned
  Clock::time_point due{};
  Clock::duration pause = kFirstPause;
  std::unique_ptr<fabric::Link> link;
  std::vector<Bytes> early;  // no deque: an empty one takes 600 bytes
  std::size_t early_bytes = 0;
  std::string why;

  bool active() const { return phase >= Phase::kSetting; }
};

Links::Links(EventLoop& loop, Owner& owner, Setup setup, std::span<fabric::Fabric* const> fabrics,
             const Info& peer)
    : loop_{loop}, owner_{owner}, setup_{std::move(setup)} {
  for (fabric::Fabric* fabric : fabrics) {
    auto slot = std::make_shared<Slot>();
    slot->fabric = fabric;
    slot->kind = fabric->kind();
    const auto advert =
        std::find_if(peer.fabrics.begin(), peer.fabrics.end(),
                     [&](const auto& candidate) { return candidate.kind == slot->kind; });
    if (advert != peer.fabrics.end()) {
      slot->phase = Slot::Phase::kDown;
      slot->advert = advert->bytes;
      slot->why = "not asked for yet";
    } else {
      slot->why = "the peer does not offer it";
    }
    slots_.push_back(std::move(slot));
  }
}

Links::~Links() {
  for (const auto& slot : slots_) slot->phase = Slot::Phase::kAbsent;  // hears nothing any more
}

Links::Slot* Links::slot(Kind kind) {
  const auto found = std::find_if(slots_.begin(), slots_.end(),
                                  [&](const auto& slot) { return slot->kind == kind; });
  return found == slots_.end() || (*found)->phase == Slot::Phase::kAbsent ? nullptr : found->get();
}

void Links::start() {
  if (!setup_.dialled) return;
  for (const auto& slot : slots_)
    if (slot->phase == Slot::Phase::kDown) attempt(*slot);
}

void Links::attempt(Slot& slot) {
  ++slot.attempt;
  owner_.send_to_peer(LinkStart{slot.kind, slot.attempt});
  begin(slot);
}

void Links::begin(Slot& slot) {
  slot.phase = Slot::Phase::kSetting;
  slot.why = "being set up";
  slot.peer_ready = false;
  slot.again = false;
  slot.early.clear();
  slot.early_bytes = 0;
  if (const auto fits = slot.fabric->fits(slot.advert); !fits) return end(slot, fits.error(), true);

  const auto attempt = slot.attempt;
  fabric::LinkSetup setup;
  setup.dialled = setup_.dialled;
  setup.peer_name = setup_.peer_name;
  setup.peer = setup_.peer;
  setup.hello = slot.advert;
  // While a slot is active its Links lives: its destructor sees to that.
  const std::weak_ptr<Slot> weak = slot.weak_from_this();
  setup.send = [this, weak, attempt](Bytes bytes) {
    if (const auto held = weak.lock(); held && held->active() && held->attempt == attempt)
      send_from(*held, attempt, std::move(bytes));
  };
  setup.failed = [this, weak, attempt](const Error& error) {
    if (const auto held = weak.lock()) end_soon(*held, attempt, describe(error));
  };
  slot.fabric->link(std::move(setup),
                    [this, weak, attempt](Result<std::unique_ptr<fabric::Link>> link) {
                      const auto held = weak.lock();
                      if (!held || held->phase == Slot::Phase::kAbsent) return;
                      on_done(*held, attempt, std::move(link));
                    });
}

void Links::on_done(Slot& slot, std::uint32_t attempt, Result<std::unique_ptr<fabric::Link>> link) {
  if (slot.attempt != attempt || slot.phase != Slot::Phase::kSetting) {
    if (link) bury(std::move(*link));
    return;
  }
  if (!link) return end(slot, describe(link.error()), true);
  slot.link = std::move(*link);
  slot.phase = Slot::Phase::kMine;
  slot.why = "the peer's half is not there yet";
  // The link may fail meanwhile (then end() is posted), but it stays there.
  for (const Bytes& message : std::exchange(slot.early, {})) slot.link->on_message(message);
  slot.early_bytes = 0;
  owner_.send_to_peer(LinkReady{slot.kind, attempt});
  check_up(slot);
}

void Links::check_up(Slot& slot) {
  if (slot.phase != Slot::Phase::kMine || !slot.peer_ready) return;
  slot.phase = Slot::Phase::kUp;
  slot.why.clear();
  slot.pause = kFirstPause;
  slot.session = owner_.new_session();
  owner_.on_link_up(slot.kind, slot.session);
}

void Links::send_from(Slot& slot, std::uint32_t attempt, Bytes bytes) {
  if (bytes.size() > kMaxLinkBytes)
    return end_soon(slot, attempt, "its message is too long for the control connection");
  owner_.send_to_peer(LinkMessage{slot.kind, attempt, std::move(bytes)});
}

// For what a link says from inside a call of ours, or of its own.
void Links::end_soon(Slot& slot, std::uint32_t attempt, std::string why) {
  loop_.post([this, weak = slot.weak_from_this(), attempt, why = std::move(why)] {
    if (const auto held = weak.lock(); held && held->active() && held->attempt == attempt)
      end(*held, why, true);
  });
}

void Links::end(Slot& slot, std::string why, bool tell) {
  const bool was_up = slot.phase == Slot::Phase::kUp;
  slot.phase = Slot::Phase::kDown;
  slot.why = std::move(why);
  slot.early.clear();
  slot.early_bytes = 0;
  slot.again = setup_.dialled;
  slot.due = Clock::now() + slot.pause;
  slot.pause = std::min<Clock::duration>(slot.pause * 2, kLongestPause);
  if (tell) owner_.send_to_peer(LinkEnd{slot.kind, slot.attempt, slot.why});
  if (was_up) owner_.on_link_down(slot.kind, slot.session);
  if (slot.link) bury(std::move(slot.link));
  if (!was_up) owner_.on_links_changed();
}

void Links::bury(std::unique_ptr<fabric::Link> link) {
  graveyard_.push_back(std::move(link));
  if (graveyard_.size() > 1) return;  // posted already
  loop_.post([this, weak = slots_.front()->weak_from_this()] {
    if (weak.expired()) return;  // and so is this object
    const auto dead = std::exchange(graveyard_, {});
  });
}

bool Links::on(const LinkStart& message) {
  Slot* found = slot(message.kind);
  if (found == nullptr || setup_.dialled || message.attempt <= found->attempt) return false;
  if (found->active()) end(*found, "the peer starts again", false);
  found->attempt = message.attempt;
  begin(*found);
  return true;
}

bool Links::on(const LinkReady& message) {
  Slot* found = slot(message.kind);
  if (found == nullptr || message.attempt > found->attempt) return false;
  if (message.attempt < found->attempt || !found->active()) return true;
  if (std::exchange(found->peer_ready, true)) return false;
  check_up(*found);
  return true;
}

bool Links::on(const LinkEnd& message) {
  Slot* found = slot(message.kind);
  if (found == nullptr || message.attempt > found->attempt) return false;
  if (message.attempt == found->attempt && found->active())
    end(*found, "the peer says: " + message.why, false);
  return true;
}

bool Links::on(const LinkMessage& message) {
  Slot* found = slot(message.kind);
  if (found == nullptr || message.attempt > found->attempt) return false;
  if (message.attempt < found->attempt || !found->active()) return true;
  if (found->link) {
    found->link->on_message(message.bytes);
    return true;
  }
  // 64: what an empty message costs us.
  found->early_bytes += message.bytes.size() + 64;
  if (found->early_bytes > setup_.early) return false;
  found->early.push_back(message.bytes);
  return true;
}

void Links::retry(Clock::time_point now) {
  for (const auto& slot : slots_)
    if (slot->phase == Slot::Phase::kDown && slot->again && slot->due <= now) attempt(*slot);
}

void Links::end_all(const std::string& why) {
  for (const auto& slot : slots_) {
    if (slot->active()) end(*slot, why, false);
    slot->phase = Slot::Phase::kAbsent;
  }
}

std::optional<Links::Up> Links::best(std::span<const Kind> only) const {
  for (const auto& slot : slots_)
    if (slot->phase == Slot::Phase::kUp &&
        (only.empty() || std::find(only.begin(), only.end(), slot->kind) != only.end()))
      return Up{slot->kind, slot->session};
  return std::nullopt;
}

fabric::Link* Links::find(Kind kind, std::uint64_t session) const {
  for (const auto& slot : slots_)
    if (slot->kind == kind && slot->phase == Slot::Phase::kUp && slot->session == session)
      return slot->link.get();
  return nullptr;
}

bool Links::settled() const {
  return std::none_of(slots_.begin(), slots_.end(), [](const auto& slot) {
    return slot->phase == Slot::Phase::kSetting || slot->phase == Slot::Phase::kMine;
  });
}

bool Links::any_stream() const {
  return std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) {
    return slot->link && !slot->link->view().streams.empty();
  });
}

bool Links::owes() const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [](const auto& slot) { return slot->link && slot->link->owes(); });
}

std::vector<FabricView> Links::view() const {
  std::vector<FabricView> all;
  for (const auto& slot : slots_) {
    FabricView one;
    one.kind = slot->kind;
    one.attempts = slot->attempt;
    one.why = slot->why;
    switch (slot->phase) {
      case Slot::Phase::kAbsent:
        one.state = "no";
        break;
      case Slot::Phase::kDown:
        one.state = slot->attempt == 0 || slot->again ? "waiting" : "down";
        break;
      case Slot::Phase::kSetting:
      case Slot::Phase::kMine:
        one.state = "setting up";
        break;
      case Slot::Phase::kUp:
        one.state = "up";
        break;
    }
    if (slot->link) one.link = slot->link->view();
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace shunt::control
