#include "sandbox/profile/testing/bpf.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace shunt::sandbox::testing {
namespace {

bool holds(std::uint16_t op, std::uint32_t accumulator, std::uint32_t k) {
  switch (op) {
    case BPF_JEQ:
      return accumulator == k;
    case BPF_JGT:
      return accumulator > k;
    case BPF_JGE:
      return accumulator >= k;
    case BPF_JSET:
      return (accumulator & k) != 0;
    default:
      std::fprintf(stderr, "unexpected jump %#x\n", op);
      std::abort();
  }
}

/// What the program returns; nothing if it reads from beyond `readable` bytes of the call.
std::optional<std::uint32_t> execute(const Program& program, const seccomp_data& call,
                                     std::size_t readable) {
  std::uint32_t accumulator = 0;
  for (std::size_t pc = 0; pc < program.size(); ++pc) {
    const sock_filter& each = program[pc];
    switch (each.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        if (each.k + sizeof accumulator > sizeof call) std::abort();
        if (each.k + sizeof accumulator > readable) return std::nullopt;
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&call) + each.k,
                    sizeof accumulator);
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        accumulator &= each.k;
        break;
      case BPF_JMP | BPF_JA:
        pc += each.k;
        break;
      case BPF_RET | BPF_K:
        return each.k;
      default:
        if (BPF_CLASS(each.code) != BPF_JMP || BPF_SRC(each.code) != BPF_K) {
          std::fprintf(stderr, "unexpected instruction %#x\n", each.code);
          std::abort();
        }
        pc += holds(BPF_OP(each.code), accumulator, each.k) ? each.jt : each.jf;
    }
  }
  std::abort();  // every program ends in a return
}

}  // namespace

std::uint32_t run(const Program& program, const seccomp_data& call) {
  return *execute(program, call, sizeof call);
}

bool always_allows(const Program& program, std::uint32_t arch, std::uint32_t number) {
  seccomp_data call{};
  call.nr = static_cast<int>(number);
  call.arch = arch;
  return execute(program, call, offsetof(seccomp_data, instruction_pointer)) == SECCOMP_RET_ALLOW;
}

}  // namespace shunt::sandbox::testing
