// A TCP connection that carries frames: cuts what comes into messages, queues what goes out.
//
// On the thread of its loop. Everything is reported from the loop, never from inside send(): an
// owner may send from anywhere without losing the ground under its feet.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "netstack/base/event_loop.h"
#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"
#include "netstack/control/message.h"

namespace shunt::control {

/// How a connection ended, as its owner is told.
struct End {
  enum class How : std::uint8_t {
    kClosed,     ///< by the other side, without a word; `error` is 0 or what the kernel says
    kBye,        ///< with a word: `reason`, `why`
    kMisbehaved  ///< we ended it for what came (`reason`) or for not reading what we send
  };
  How how = How::kClosed;
  int error = 0;
  Reason reason{};
  std::string why;
};

class Channel : public std::enable_shared_from_this<Channel> {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    /// `payload` is what was decoded; valid during the call. BYE does not come here.
    virtual void on_message(Channel& channel, Message message, View payload) = 0;
    /// Once, and nothing after it. Not after close() or bye().
    virtual void on_end(Channel& channel, const End& end) = 0;
  };
  struct Limits {
    std::size_t queue = 1024UL * 1024;        ///< bytes unsent
    std::uint32_t frames_a_second = 100'000;  ///< read; what is above waits in the kernel
  };

  /// `socket`: connected, non-blocking. Requires: held by a shared_ptr before start().
  Channel(EventLoop& loop, UniqueFd socket, Owner& owner, Limits limits);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  Status start();

  void set_owner(Owner& owner) { owner_ = &owner; }
  void send(const Message& message);
  /// For what nobody waits for: leaves with the next message, or alone within 5 ms.
  void send_with_next(const Message& message);
  /// Says why, as far as the kernel takes it at once, and closes.
  void bye(Reason reason, std::string_view why);
  void close();
  /// The kernel's part of noticing that the other side's machine is gone.
  void give_up_after(std::chrono::milliseconds silence);
  /// The other side is dead: ends with kClosed, soon.
  void lost(int error);
  /// From on_message(): what came breaks the rules. Ends with kMisbehaved once that has returned.
  void misbehaved(Reason reason, std::string why);

  int socket() const { return socket_.get(); }
  bool open() const { return socket_.valid(); }
  EventLoop::Clock::time_point last_heard() const { return last_heard_; }
  std::uint64_t frames_in() const { return frames_in_; }
  std::uint64_t frames_out() const { return frames_out_; }

 private:
  void on_events(std::uint32_t events);
  void read();
  bool take_frames(View bytes, std::size_t& used);  ///< false: closed meanwhile
  void take(std::uint8_t type, View payload);
  bool queue(const Message& message);
  void flush_soon();
  bool flush();  ///< false: ended
  void end_soon(End end);
  void end(const End& how);
  bool over_rate();
  void update_interest();

  EventLoop& loop_;
  UniqueFd socket_;
  Owner* owner_;
  Limits limits_;
  EventLoop::Token watch_ = 0;
  EventLoop::Token pause_ = 0;  ///< reading stopped until this timer: see Limits::frames_a_second
  EventLoop::Token late_ = 0;   ///< when what waits for a next message leaves without
  std::uint32_t interest_ = 0;
  Bytes in_;  ///< the part of a frame that has come
  Bytes out_;
  std::size_t sent_ = 0;   ///< of out_
  bool flushing_ = false;  ///< posted
  bool ending_ = false;    ///< on_end is on its way: neither reads nor sends
  EventLoop::Clock::time_point last_heard_ = EventLoop::Clock::now();
  EventLoop::Clock::time_point rate_since_{};
  std::uint32_t rate_count_ = 0;
  std::uint64_t frames_in_ = 0;
  std::uint64_t frames_out_ = 0;
};

/// The options every control connection has: no delay, death noticed by the kernel too.
void prepare_socket(int socket);

}  // namespace shunt::control
