// Which process has a socket, when nothing is known of it but its inode: only /proc tells.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <set>
#include <unordered_set>

namespace shunt::sandbox {

/// Calls `found` with a duplicate of each of these sockets that a process in one of these network
/// namespaces has, once each. The duplicate is closed when `found` returns. Stops when the calling
/// thread has spent `most` CPU time; processes with few descriptors come first, so that one with
/// very many is not in the way of others. Sockets that no process has (those on their way in a
/// message), or only a thread with a descriptor table of its own, are not found.
void for_each_held(std::unordered_set<std::uint32_t> inodes, const std::set<std::uint64_t>& netns,
                   std::chrono::nanoseconds most,
                   const std::function<void(std::uint32_t inode, int socket)>& found);

/// CPU time of the calling thread.
std::chrono::nanoseconds own_cpu_time();

}  // namespace shunt::sandbox
