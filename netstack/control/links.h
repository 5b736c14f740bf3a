// The links of all fabrics to one peer, while one control connection lives: set up, fed with the
// peer's messages, torn down, tried again.
//
// WIRE.md, "Links": the dialling side counts attempts; what names another attempt than the present
// one was under way and is ignored. On the thread of the loop. A link is never destroyed from
// inside a call that it made.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "netstack/base/event_loop.h"
#include "netstack/control/message.h"
#include "netstack/control/peers.h"
#include "netstack/fabric/fabric.h"

namespace shunt::control {

class Links {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void send_to_peer(const Message& message) = 0;
    virtual std::uint64_t new_session() = 0;
    virtual void on_link_up(Kind kind, std::uint64_t session) = 0;
    virtual void on_link_down(Kind kind, std::uint64_t session) = 0;
    /// What links there are, or will soon be, has changed without one coming up or down.
    virtual void on_links_changed() = 0;
  };
  struct Setup {
    bool dialled = false;  ///< by us
    Endpoint peer;
    std::string peer_name;
    std::size_t early = 0;  ///< bytes kept for one link
  };

  Links(EventLoop& loop, Owner& owner, Setup setup, std::span<fabric::Fabric* const> fabrics,
        const Info& peer);
  ~Links();  ///< the owner is not told
  Links(const Links&) = delete;
  Links& operator=(const Links&) = delete;

  /// First attempts. Nothing for the dialled side to do: it is asked.
  void start();
  /// From the peer. False: breaks the rules.
  bool on(const LinkStart& message);
  bool on(const LinkReady& message);
  bool on(const LinkEnd& message);
  bool on(const LinkMessage& message);

  /// Tries again what is due.
  void retry(EventLoop::Clock::time_point now);
  void end_all(const std::string& why);

  struct Up {
    Kind kind{};
    std::uint64_t session = 0;
  };
  std::optional<Up> best(std::span<const Kind> only) const;
  fabric::Link* find(Kind kind, std::uint64_t session) const;
  bool any_up() const { return best({}).has_value(); }
  bool settled() const;  ///< none is being set up
  bool any_stream() const;
  bool owes() const;  ///< see Link::owes
  std::vector<FabricView> view() const;

 private:
  struct Slot;
  Slot* slot(Kind kind);
  void attempt(Slot& slot);
  void begin(Slot& slot);
  void on_done(Slot& slot, std::uint32_t attempt, Result<std::unique_ptr<fabric::Link>> link);
  void send_from(Slot& slot, std::uint32_t attempt, Bytes bytes);
  void check_up(Slot& slot);
  void end_soon(Slot& slot, std::uint32_t attempt, std::string why);
  void end(Slot& slot, std::string why, bool tell);
  void bury(std::unique_ptr<fabric::Link> link);

  EventLoop& loop_;
  Owner& owner_;
  Setup setup_;
  std::vector<std::shared_ptr<Slot>> slots_;
  std::vector<std::unique_ptr<fabric::Link>> graveyard_;
};

}  // namespace shunt::control
