// Compiles the seccomp section of a config.json into the program that runc 1.1.5 would load, with
// the same library and the same calls in the same order. For tests.
#pragma once

#include <string>
#include <variant>

#include "sandbox/profile/oci_profile.h"
#include "sandbox/profile/testing/bpf.h"

namespace shunt::sandbox::testing {

/// The program, or why runc would not create the container. `seccomp` null or without default
/// action and rules: an empty program, no filter. What runc adds for calls that are newer than the
/// profile (ENOSYS) is not part of it; it depends on nothing but the names in the profile.
std::variant<Program, std::string> compile(const Json& seccomp);

}  // namespace shunt::sandbox::testing
