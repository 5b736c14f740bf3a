// The first messages of a control connection, up to INFO: a pure state machine, one for each side.
// Whoever owns it moves the messages, calls back for VERIFY, and decides about duplicates.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "netstack/control/message.h"
#include "netstack/control/proof.h"

namespace shunt::control {

class Handshake {
 public:
  enum class Step : std::uint8_t {
    kWait,    ///< for the other side
    kVerify,  ///< dialled side, no key: ask the caller's shim, then verified()
    kProved,  ///< dialled side: it is who it says; admit() it, or end the connection
    kUp,      ///< peer_info() is there; the dialling side now sends its own
    kFailed,  ///< say BYE with reason() and why()
  };
  struct Setup {
    Role role = Role::kDialling;
    std::string_view key;  ///< empty: none
    Hello hello;           ///< ours; `keyed` is set here
    IpAddress self{};
    IpAddress peer{};
  };
  explicit Handshake(Setup setup);

  /// What to send before anything came: the dialling side's HELLO.
  std::vector<Message> start();
  /// `send` gets what is to be sent, in order.
  Step on(const Message& message, View payload, std::vector<Message>& send);
  Step verified(bool yes);
  void admit(const Info& mine, std::vector<Message>& send);

  bool heard_hello() const { return !peer_hello_bytes_.empty(); }
  const Hello& hello() const { return setup_.hello; }
  const Hello& peer_hello() const { return peer_hello_; }
  const Info& peer_info() const { return peer_info_; }
  std::uint16_t version() const { return version_; }
  Reason reason() const { return reason_; }
  const std::string& why() const { return why_; }

 private:
  Step fail(Reason reason, std::string why);
  Step on_hello(const Hello& hello, View payload, std::vector<Message>& send);
  Step on_proof(const Proof& proof);
  bool keyed() const { return !setup_.key.empty(); }
  Digest proof_of(Role prover) const;
  enum class Awaits : std::uint8_t { kHello, kProof, kVerified, kAdmission, kInfo, kNothing };

  Setup setup_;
  Bytes hello_bytes_;
  Bytes peer_hello_bytes_;
  Hello peer_hello_;
  Info peer_info_;
  Awaits awaits_ = Awaits::kHello;
  std::uint16_t version_ = 0;
  Reason reason_{};
  std::string why_;
};

}  // namespace shunt::control
