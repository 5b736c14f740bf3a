// What the ring protocol (link.h) needs from a way to reach a peer's memory: a shared memory
// window (netstack/window), RC queue pairs (netstack/verbs), an in-process one for tests.
//
// Two kinds of things travel, each in both directions:
//
//   bytes     written straight into a part of the peer's region that the peer has granted:
//             stage() a place, fill it, push() it. One-sided: nobody is told.
//   records   small messages of the ring protocol, in order, into a message ring that the mover
//             keeps for itself: publish() at one side, receive() at the other.
//
// The one ordering rule: what was pushed on a lane before a publish() on that lane is in the peer's
// memory when the peer receives those records. Different lanes are not ordered; all pushes and
// records of a stream use one lane (a verbs mover makes each lane a queue pair).
//
// Regions. Each side has one region of receive memory, which only the peer writes. Its owner cuts
// it into slabs; rings lie inside slabs, at multiples of their power-of-two size. A slab is
// committed before the first ring of it is granted and released after the last one has been given
// back. The granting side's key (an rkey; 0 where there is none) travels in the GRANT record:
//
//     receiver: key = commit(slab)  -- GRANT{offset, size, key} -->  sender: adopt(ring, key)
//     receiver: release(slab)       <-- RELEASE ... --              sender: drop(ring)
//
// How that maps to verbs: stage() is a registered mirror of the peer's slab, push() adds an
// unsignalled RDMA WRITE to the list of this turn, publish() a WRITE_WITH_IMM (inline if it fits)
// into the peer's message ring, flush() posts the list. The mirror of bytes is not staged again
// before the peer has read them (CREDIT, or a new GRANT); nothing else about completions is seen up
// here:
// room() says what the send queue and the peer's receive queue still take.
//
// Single-threaded: everything is called on the fabric loop's thread. Nothing blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "netstack/base/result.h"

namespace shunt::ring {

/// A part of a region, in bytes. Regions are smaller than 4 GiB.
struct Extent {
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
};

class Mover {
 public:
  /// Agreed on when the link was set up; does not change, but for `burst`.
  struct Shape {
    std::uint32_t own = 0;      ///< our region; a multiple of `slab`
    std::uint32_t peer = 0;     ///< the peer's region; a multiple of `slab`
    std::uint32_t slab = 0;     ///< the same at both ends; at least the largest ring (1 MiB)
    unsigned lanes = 1;         ///< the same at both ends
    std::uint32_t small = 256;  ///< payloads up to this are cheaper inside a record than pushed
    std::uint32_t burst = 1;    ///< bytes worth a flush while there are more; own affair
    std::uint32_t batch = 0;    ///< the most bytes of records that one publish() takes (>= 4096)
  };
  /// What can be given to the mover now without overrunning the peer or a queue.
  struct Room {
    std::size_t records = 0;  ///< bytes of records on this lane, in one or several publishes
    std::size_t calls = 0;    ///< push() and publish() calls on this lane
  };
  /// Takes what the peer published.
  class Receiver {
   public:
    virtual ~Receiver() = default;
    /// Whole publishes, one or several, as the peer made them but not to be trusted. The bytes are
    /// private: the peer cannot change them any more. Valid during the call.
    virtual void on_records(unsigned lane, std::span<const std::byte> records) = 0;
  };

  /// With writes in flight too: the memory stays until nothing can touch it.
  virtual ~Mover() = default;
  virtual const Shape& shape() const = 0;

  // -- our region: the peer writes it, we read it
  /// All of `own` bytes. Only committed slabs may be read.
  virtual std::span<const std::byte> region() const = 0;
  /// For keeping bytes that came inside records together with those that were pushed.
  virtual std::span<std::byte> writable(Extent part) = 0;
  /// Makes the slab at this offset writable for the peer; the key is for GRANT. ENOMEM, ENOBUFS:
  /// not now. Called again only after release().
  virtual Result<std::uint32_t> commit(std::uint32_t slab_offset) = 0;
  /// The peer has given back every ring in it. May return the memory to the system.
  virtual void release(std::uint32_t slab_offset) = 0;

  // -- the peer's region: we write it, and never read it
  /// The peer granted this ring (in bounds, aligned, inside one slab: checked by the caller).
  /// Several rings of a slab are adopted one by one; the last drop() of a slab lets go of it.
  /// EPROTO: the key cannot be, it contradicts that of a ring adopted in the same slab. Any other
  /// error: there is no memory for a mirror now; it is asked for again.
  virtual Status adopt(Extent ring, std::uint32_t key) = 0;
  /// No more pushes into this ring, and the peer is told so after this call. Writes may be under
  /// way still: what they read stays until they are done. The slab may be adopted again at once,
  /// with another key; a place of it is staged again only after the peer has granted it again, that
  /// is, after it has read what was there.
  virtual void drop(Extent ring) = 0;
  /// Where to put bytes for this part of an adopted ring: the peer's memory itself, or a mirror.
  /// Stays valid until drop(). Write-only.
  virtual std::span<std::byte> stage(Extent part) = 0;

  // -- sending. Nothing has to leave before flush(), and everything leaves then.
  virtual Room room(unsigned lane) const = 0;
  /// Sends what was staged there. Costs one call; at most one ring's size.
  virtual void push(unsigned lane, Extent part) = 0;
  /// Copies whole records (a multiple of 8 bytes, at most `batch`). Costs one call and their size.
  /// `wake`: the peer should handle them soon, so wake it if it sleeps; others wait for the next.
  virtual void publish(unsigned lane, std::span<const std::byte> records, bool wake) = 0;
  /// An error ends the link.
  virtual Status flush() = 0;
  /// What has been published so far must arrive though we may end before long: see arrived().
  virtual void must_arrive() {}
  /// Whether all that must has arrived: the end of this mover takes nothing of it away. Asks for
  /// word of it if need be. Where writing is arriving, it has.
  virtual bool arrived() { return true; }

  // -- receiving
  /// Hands over what has arrived, bounded by the size of the message rings, and learns of room.
  /// True if there was anything. An error ends the link: ECONNRESET (peer gone), ETIMEDOUT, EPROTO,
  /// EIO; given once event_fd() has become readable for it, and after what had arrived before.
  virtual Result<bool> receive(Receiver& receiver) = 0;
  /// Readable (watched edge-triggered) once records, room that was asked for, or an error came
  /// after arm().
  virtual int event_fd() const = 0;
  /// Asks to be woken, also for room if `for_room`. False: something came in meanwhile, receive()
  /// again.
  virtual bool arm(bool for_room) = 0;
  /// Called when event_fd() was readable and before receive(): takes the event.
  virtual void disarm() = 0;

  // -- for the control connection and for people
  /// Bytes from the peer's mover over the control connection (LinkSetup::send is given to the maker
  /// of the mover). EPROTO: makes no sense; the link goes on.
  virtual Status on_message(std::span<const std::byte> /*message*/) {
    return Error{EPROTO, "link message"};
  }
  virtual std::string state() const = 0;  ///< "up", or what is wrong
  virtual std::vector<std::pair<std::string, std::uint64_t>> counters() const = 0;
};

}  // namespace shunt::ring
