#include "config/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <climits>

#include "netstack/base/endpoint.h"

namespace shunt::config {
namespace {

using namespace std::chrono_literals;
constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;

const auto kAnything = [](const auto&) -> Verdict { return Done{}; };

/// Both ends are allowed values.
template <typename T>
auto between(T least, T most) {
  return [=](const T& value) -> Verdict {
    if (value >= least && value <= most) return Done{};
    return fmt::format("must be between {} and {}, not {}", write_value(least), write_value(most),
                       write_value(value));
  };
}

bool is_clean_absolute(const std::string& path) {
  if (path.size() < 2 || path.front() != '/' || path.back() == '/') return false;
  const std::string closed = path + '/';
  return closed.find("//") == std::string::npos && closed.find("/../") == std::string::npos &&
         closed.find("/./") == std::string::npos && path.find('\0') == std::string::npos;
}

Verdict state_directory(const std::string& path) {
  // Sockets are made below it, and sun_path holds 107 bytes (unix(7)).
  constexpr std::size_t kLongest = 60;
  if (!is_clean_absolute(path))
    return fmt::format("must be an absolute path without . or .., not {}", quote(path));
  if (path.size() > kLongest)
    return fmt::format("must be at most {} bytes long, since sockets are made below it; it has {}",
                       kLongest, path.size());
  return Done{};
}

Verdict absolute_or_empty(const std::string& path) {
  if (path.empty() || is_clean_absolute(path)) return Done{};
  return fmt::format("must be empty or an absolute path without . or .., not {}", quote(path));
}

Verdict program(const std::string& path) {
  const bool plain = !path.empty() && path.find_first_of(std::string_view{"/\0", 2}) == path.npos;
  if ((plain && path != "." && path != "..") || is_clean_absolute(path)) return Done{};
  return fmt::format("must be a program's name or its absolute path, not {}", quote(path));
}

/// A list without repetition, of ranges that unicast TCP connections to another host can go to.
Verdict pod_ranges(const std::vector<Cidr>& ranges) {
  constexpr std::size_t kMost = 256;  // each upgradeable connect walks the list
  if (ranges.size() > kMost)
    return fmt::format("must have at most {} ranges, not {}", kMost, ranges.size());
  for (auto range = ranges.begin(); range != ranges.end(); ++range) {
    for (const char* loopback : {"127.0.0.0/8", "::1/128"})
      if (Cidr::parse(loopback)->contains(*range))
        return fmt::format("must not hold loopback addresses ({}); that is upgrade.loopback",
                           range->text());
    for (const char* multicast : {"224.0.0.0/4", "ff00::/8"})
      if (Cidr::parse(multicast)->contains(*range))
        return fmt::format("must not hold multicast addresses ({})", range->text());
    if (std::find(ranges.begin(), range, *range) != range)
      return fmt::format("must not list {} twice", range->text());
  }
  return Done{};
}

Verdict fabric_list(const std::vector<FabricName>& names) {
  for (auto name = names.begin(); name != names.end(); ++name)
    if (std::find(names.begin(), name, *name) != name)
      return fmt::format("must not name a fabric twice: {}", write_value(names));
  return Done{};
}

Verdict node_address(const std::string& text) {
  if (text.empty()) return Done{};
  const auto address = parse_address(text);
  if (!address || is_unspecified(*address) || is_loopback(*address))
    return fmt::format("must be empty or an address of this node, not {}", quote(text));
  return Done{};
}

/// `access` gives the member, of a Config or of a const Config.
template <typename Access, typename Check>
Key key(std::string_view name, std::string_view help, Access access, Check check) {
  return {
      name, help,
      [access](Config& config, const YamlNode& node) { return read_value(node, access(config)); },
      [access](const Config& config) { return write_value(access(config)); },
      [access, check](const Config& config) { return check(access(config)); }};
}

// A member's name cannot stand in parentheses.
#define MEMBER(path) \
  [](auto& config) -> auto& { return config.path; }  // NOLINT(bugprone-macro-parentheses)

const std::vector<Key>& table() {
  static const std::vector<Key> rows{
      key("state", "Directory of everything Shunt keeps while it runs.", MEMBER(state),
          state_directory),

      key("log.level", "Lowest level that is written: trace, debug, info, warn or error.",
          MEMBER(log.level), kAnything),

      key("runtime.binary", "The OCI runtime: a name looked up in PATH, or an absolute path.",
          MEMBER(runtime.binary), program),
      key("runtime.root", "Where the OCI runtime keeps its state; empty means runc below `state`.",
          MEMBER(runtime.root), absolute_or_empty),
      key("runtime.systemd_cgroup", "Let systemd make the cgroups of containers.",
          MEMBER(runtime.systemd_cgroup), kAnything),
      key("runtime.no_pivot_root",
          "Use chroot instead of pivot_root, for hosts that run from an initramfs.",
          MEMBER(runtime.no_pivot_root), kAnything),
      key("runtime.no_new_keyring",
          "Let containers keep the session keyring instead of giving each its own.",
          MEMBER(runtime.no_new_keyring), kAnything),
      key("runtime.timeout",
          "How long one call of the OCI runtime may take before it is killed, from 1s to 1h.",
          MEMBER(runtime.timeout), between<Milliseconds>(1s, 1h)),

      key("stdio.drain_timeout",
          "How long the deletion of a process waits for its last output, from 0s to 10m.",
          MEMBER(stdio.drain_timeout), between<Milliseconds>(0s, 10min)),

      key("events.queue", "Events kept for containerd while it is away, from 16 to 1000000.",
          MEMBER(events.queue), between<std::uint32_t>(16, 1'000'000)),

      key("upgrade.enabled", "Replace connections between pods by faster ones where possible.",
          MEMBER(upgrade.enabled), kAnything),
      key("upgrade.pair",
          "What a fast connection of one node is made of: unix is the fastest, tcp has no visible "
          "difference.",
          MEMBER(upgrade.pair), kAnything),
      key("upgrade.loopback", "Also replace connections over the loopback inside a pod.",
          MEMBER(upgrade.loopback), kAnything),
      key("upgrade.ranges",
          "Addresses that can lead to pods, those of services included; connections elsewhere are "
          "left alone.",
          MEMBER(upgrade.ranges), pod_ranges),
      key("upgrade.send_buffer",
          "Most that the send buffer of an end of a fast connection becomes, from 64KiB to 512MiB. "
          "Ends that many small writes fill grow to it, others need less; only what is in flight "
          "takes memory.",
          MEMBER(upgrade.send_buffer),
          // SO_SNDBUFFORCE takes an int and the kernel doubles it.
          between<std::uint64_t>(64 * kKiB, 512 * kMiB)),
      key("upgrade.io_uring",
          "What containers are told of io_uring, whose socket calls cannot be seen: deny (it is "
          "not "
          "there) or allow (such connections stay as they are).",
          MEMBER(upgrade.io_uring), kAnything),
      key("upgrade.short_lived",
          "What becomes of a thread's connections to one address where one follows the other and "
          "none is kept: kernel (they stay as they are, since they only lose by being replaced) or "
          "upgrade.",
          MEMBER(upgrade.short_lived), kAnything),

      key("fabrics.enabled",
          "Ways across nodes that may be used, best first: verbs (RDMA), window (shared memory, "
          "needs its directory) and host (the node's own network). None unless it is asked for, so "
          "that "
          "no port of a pod is taken.",
          MEMBER(fabrics.enabled), fabric_list),
      key("fabrics.port",
          "TCP port at each pod's own address on which shims talk to each other; containers cannot "
          "have it.",
          MEMBER(fabrics.port), between<std::uint32_t>(1, 65535)),
      key("fabrics.wait",
          "How long a first connect to an unknown address may wait to learn whether a shim is "
          "there, from 0s to 1s. With more than the default the other bounds of connects across "
          "nodes grow in proportion.",
          MEMBER(fabrics.wait), between<Milliseconds>(0s, 1s)),
      key("fabrics.forget",
          "For how long an address without a shim is not asked again, from 1s to 1h.",
          MEMBER(fabrics.forget), between<Milliseconds>(1s, 1h)),
      key("fabrics.silence",
          "For how long a peer may be silent before its connections are reset, from 3s to 10m. "
          "Shorter pauses of a node or a shim only delay them.",
          MEMBER(fabrics.silence), between<Milliseconds>(3s, 10min)),
      key("fabrics.key_file",
          "File with a key that all nodes share; empty means that shims prove themselves by the "
          "address they listen on.",
          MEMBER(fabrics.key_file), absolute_or_empty),
      key("fabrics.host.address",
          "Address of this node that other nodes reach; empty means that of the default route.",
          MEMBER(fabrics.host.address), node_address),
      key("fabrics.host.port", "First TCP port of this node that its shims listen on.",
          MEMBER(fabrics.host.port), between<std::uint32_t>(1024, 65535)),
      key("fabrics.host.ports",
          "How many ports from there on they may use, one for each pod, from 1 to 4096.",
          MEMBER(fabrics.host.ports), between<std::uint32_t>(1, 4096)),
      key("fabrics.host.guard",
          "Whether nftables must keep sockets of the node that containers hold from going "
          "elsewhere: required or off.",
          MEMBER(fabrics.host.guard), kAnything),
      key("fabrics.window.directory",
          "Directory of windows that two nodes share; empty means that there is none.",
          MEMBER(fabrics.window.directory), absolute_or_empty),
      key("fabrics.window.memory",
          "Most memory that each peer of a pod may fill, from 1MiB to 1GiB.",
          MEMBER(fabrics.window.memory), between<std::uint64_t>(kMiB, kGiB)),
      key("fabrics.verbs.device", "RDMA device; empty means the one on the way to the peer.",
          MEMBER(fabrics.verbs.device), kAnything),
      key("fabrics.verbs.gid_index",
          "Index of the device's address to use, from 0 to 255; -1 means that it is found out.",
          MEMBER(fabrics.verbs.gid_index), between<std::int32_t>(-1, 255)),
      key("fabrics.verbs.memory",
          "Most memory that one pod registers with the device, from 1MiB to 64GiB.",
          MEMBER(fabrics.verbs.memory), between<std::uint64_t>(kMiB, 64 * kGiB)),
      key("fabrics.verbs.queue_pairs", "Queue pairs for each peer, from 1 to 64.",
          MEMBER(fabrics.verbs.queue_pairs), between<std::uint32_t>(1, 64)),
      key("fabrics.verbs.streams", "Most connections of a pod with each peer, from 1 to 1000000.",
          MEMBER(fabrics.verbs.streams), between<std::uint32_t>(1, 1'000'000)),
  };
  return rows;
}
#undef MEMBER

}  // namespace

std::span<const Key> keys() { return table(); }

std::string_view leaf(std::string_view name) { return name.substr(name.rfind('.') + 1); }

std::string_view section(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? std::string_view{} : name.substr(0, dot);
}

std::string names_in(std::string_view wanted) {
  std::vector<std::string_view> names;
  for (const Key& key : keys()) {
    std::string_view name = key.name;
    if (!wanted.empty()) {
      if (!name.starts_with(wanted) || name.substr(wanted.size(), 1) != ".") continue;
      name.remove_prefix(wanted.size() + 1);
    }
    name = name.substr(0, name.find('.'));  // a key, or a section below
    if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace shunt::config
