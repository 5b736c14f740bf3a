// What Shunt can be told in /etc/shunt/config.yaml, as one plain struct. The initialisers are the
// defaults. Filled once by load.h before threads start, then only read.
//
// What each key means stands in the table of keys.cc (and so in reference.yaml); the members are
// in the same order.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "config/cidr.h"
#include "netstack/base/log.h"

namespace shunt::config {

using Milliseconds = std::chrono::milliseconds;

struct Log {
  log::Level level = log::Level::kInfo;

  friend bool operator==(const Log&, const Log&) = default;
};

struct Runtime {
  std::string binary = "runc";
  std::string root;  ///< empty: <state>/runc
  bool systemd_cgroup = false;
  bool no_pivot_root = false;
  bool no_new_keyring = false;
  Milliseconds timeout = std::chrono::seconds{60};

  friend bool operator==(const Runtime&, const Runtime&) = default;
};

struct Stdio {
  Milliseconds drain_timeout = std::chrono::seconds{10};

  friend bool operator==(const Stdio&, const Stdio&) = default;
};

struct Events {
  std::uint32_t queue = 2048;

  friend bool operator==(const Events&, const Events&) = default;
};

enum class Pair { kUnix, kTcp };
enum class IoUring { kDeny, kAllow };
enum class ShortLived { kKernel, kUpgrade };

/// Private and shared address space that cluster networks are cut from.
std::vector<Cidr> default_ranges();

struct Upgrade {
  bool enabled = true;
  Pair pair = Pair::kUnix;
  bool loopback = true;
  std::vector<Cidr> ranges = default_ranges();
  std::uint64_t send_buffer = 8U << 20U;  ///< bytes, at most
  IoUring io_uring = IoUring::kDeny;
  ShortLived short_lived = ShortLived::kKernel;

  friend bool operator==(const Upgrade&, const Upgrade&) = default;
};

/// Ways across nodes. The netstack's own fabric::Kind knows more than a file may ask for.
enum class FabricName { kHost, kWindow, kVerbs };
enum class Guard { kRequired, kOff };

struct HostFabric {
  std::string address;  ///< empty: that of the default route
  std::uint32_t port = 7472;
  std::uint32_t ports = 256;
  Guard guard = Guard::kRequired;

  friend bool operator==(const HostFabric&, const HostFabric&) = default;
};

struct WindowFabric {
  std::string directory;  ///< empty: not offered
  std::uint64_t memory = 64U << 20U;

  friend bool operator==(const WindowFabric&, const WindowFabric&) = default;
};

struct VerbsFabric {
  std::string device;           ///< empty: by route to the peer
  std::int32_t gid_index = -1;  ///< -1: found out
  std::uint64_t memory = 256U << 20U;
  std::uint32_t queue_pairs = 4;
  std::uint32_t streams = 65536;

  friend bool operator==(const VerbsFabric&, const VerbsFabric&) = default;
};

struct Fabrics {
  std::vector<FabricName> enabled;  ///< best first; empty: connections stay on the kernel path
  std::uint32_t port = 7471;
  Milliseconds wait = std::chrono::milliseconds{20};
  Milliseconds forget = std::chrono::seconds{60};
  Milliseconds silence = std::chrono::seconds{6};
  std::string key_file;
  HostFabric host;
  WindowFabric window;
  VerbsFabric verbs;

  friend bool operator==(const Fabrics&, const Fabrics&) = default;
};

struct Config {
  std::string state = "/run/shunt";
  Log log;
  Runtime runtime;
  Stdio stdio;
  Events events;
  Upgrade upgrade;
  Fabrics fabrics;

  friend bool operator==(const Config&, const Config&) = default;
};

}  // namespace shunt::config
