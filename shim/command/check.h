// `shunt check`: is this host fit, and what does each thing that is missing cost? Features are
// found by trying them, not by comparing version numbers.
#pragma once

#include <string>
#include <vector>

namespace shunt::command {

enum class Fitness {
  kOk,
  kDegraded,  ///< works, but something is slower or stays on the kernel path: `effect` says what
  kMissing,   ///< Shunt cannot run
};

struct Finding {
  std::string subject;  ///< "seccomp notifications"
  Fitness fitness = Fitness::kOk;
  std::string found;   ///< "yes", "runc 1.1.5"
  std::string effect;  ///< what its absence costs, and what to do; empty when kOk
};

std::vector<Finding> check_kernel();
std::vector<Finding> check_programs(const std::string& config_path);
/// What connections to other nodes could go over. Makes the nftables table if it is wanted.
std::vector<Finding> check_fabrics(const std::string& config_path);

}  // namespace shunt::command
