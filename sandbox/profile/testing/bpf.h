// Runs a classic BPF program over a seccomp_data, as the kernel does. For tests.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstdint>
#include <vector>

namespace shunt::sandbox::testing {

using Program = std::vector<sock_filter>;

/// The SECCOMP_RET_ value with its data. Ends the process on an instruction seccomp would refuse.
std::uint32_t run(const Program& program, const seccomp_data& call);

/// Whether the program allows a call before it looks at arguments. Linux (5.11) asks the same when
/// a filter is installed, in seccomp_is_const_allow(), and does not run it for such calls.
bool always_allows(const Program& program, std::uint32_t arch, std::uint32_t number);

}  // namespace shunt::sandbox::testing
