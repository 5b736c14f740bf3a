// dialling   kHello -> [key: kProof ->] kInfo -> up (its own INFO goes out with that)
// dialled    kHello -> key: kProof, else kVerified -> kAdmission -> kInfo -> up
#include "netstack/control/handshake.h"

#include <algorithm>
#include <utility>

#include "netstack/control/codec.h"

namespace shunt::control {

Handshake::Handshake(Setup setup) : setup_{setup} {
  setup_.hello.keyed = keyed();
  const Bytes whole = encode(setup_.hello);
  hello_bytes_.assign(whole.begin() + kFrameHeader, whole.end());
}

std::vector<Message> Handshake::start() {
  if (setup_.role == Role::kDialled) return {};
  return {setup_.hello};
}

Handshake::Step Handshake::fail(Reason reason, std::string why) {
  awaits_ = Awaits::kNothing;
  reason_ = reason;
  why_ = std::move(why);
  return Step::kFailed;
}

Handshake::Step Handshake::on(const Message& message, View payload, std::vector<Message>& send) {
  if (const Hello* hello = std::get_if<Hello>(&message); hello && awaits_ == Awaits::kHello)
    return on_hello(*hello, payload, send);
  if (const Proof* proof = std::get_if<Proof>(&message); proof && awaits_ == Awaits::kProof)
    return on_proof(*proof);
  if (const Info* info = std::get_if<Info>(&message); info && awaits_ == Awaits::kInfo) {
    peer_info_ = *info;
    awaits_ = Awaits::kNothing;
    return Step::kUp;
  }
  return fail(Reason::kProtocol, "a message that has no place here");
}

Handshake::Step Handshake::on_hello(const Hello& hello, View payload, std::vector<Message>& send) {
  peer_hello_ = hello;
  peer_hello_bytes_.assign(payload.begin(), payload.end());
  const bool dialled = setup_.role == Role::kDialled;
  if (dialled) send.emplace_back(setup_.hello);
  version_ = std::min(hello.version, setup_.hello.version);
  if (version_ < hello.min_version || version_ < setup_.hello.min_version)
    return fail(Reason::kVersion,
                "speaks versions " + std::to_string(setup_.hello.min_version) + " to " +
                    std::to_string(setup_.hello.version) + ", the other side's are " +
                    std::to_string(hello.min_version) + " to " + std::to_string(hello.version));
  if (hello.keyed != keyed())
    return fail(Reason::kKey, keyed() ? "has a cluster key, the other side has none"
                                      : "has no cluster key, the other side has one");
  if (keyed()) {
    if (!dialled) send.emplace_back(Proof{proof_of(Role::kDialling)});
    awaits_ = Awaits::kProof;
    return Step::kWait;
  }
  awaits_ = dialled ? Awaits::kVerified : Awaits::kInfo;
  return dialled ? Step::kVerify : Step::kWait;
}

Handshake::Step Handshake::on_proof(const Proof& proof) {
  const bool dialled = setup_.role == Role::kDialled;
  if (!same(proof.digest, proof_of(dialled ? Role::kDialling : Role::kDialled)))
    return fail(Reason::kKey, "the proof does not fit this cluster key");
  awaits_ = dialled ? Awaits::kAdmission : Awaits::kInfo;
  return dialled ? Step::kProved : Step::kWait;
}

Handshake::Step Handshake::verified(bool yes) {
  if (awaits_ != Awaits::kVerified) return Step::kWait;  // failed meanwhile
  if (!yes) return fail(Reason::kNotVerified, "the shim at the caller's address did not vouch");
  awaits_ = Awaits::kAdmission;
  return Step::kProved;
}

void Handshake::admit(const Info& mine, std::vector<Message>& send) {
  if (keyed()) send.emplace_back(Proof{proof_of(Role::kDialled)});
  send.emplace_back(mine);
  awaits_ = Awaits::kInfo;
}

Digest Handshake::proof_of(Role prover) const {
  const bool dialling = setup_.role == Role::kDialling;
  Transcript transcript;
  transcript.dialling_hello = dialling ? hello_bytes_ : peer_hello_bytes_;
  transcript.dialled_hello = dialling ? peer_hello_bytes_ : hello_bytes_;
  transcript.dialling = dialling ? setup_.self : setup_.peer;
  transcript.dialled = dialling ? setup_.peer : setup_.self;
  return prove(setup_.key, prover, transcript);
}

}  // namespace shunt::control
