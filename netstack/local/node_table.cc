#include "netstack/local/node_table.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <sstream>

namespace shunt::local {
namespace {

// Changes with the layout, and the second name with it: that is for where the first file is one of
// another version's. Supervisors that do not understand each other stay apart.
constexpr std::uint64_t kMagic = 0x34646f6e'746e7568;
constexpr std::array<const char*, 2> kFiles{"/node", "/node-4"};
constexpr std::size_t kSlots = 1024;  // pods of a node; Kubernetes' default is 110

constexpr std::size_t kPortWords = 64;
std::size_t word_of(std::uint16_t port) { return port * 40503U % 65536U / (65536U / kPortWords); }

// CLOCK_MONOTONIC in ns, rounded up so that the lowest 16 bits have room for who said it.
constexpr std::uint64_t kWho = 0xffff;
std::uint64_t said(const IpAddress& client) {
  const std::chrono::nanoseconds now = std::chrono::steady_clock::now().time_since_epoch();
  return ((static_cast<std::uint64_t>(now.count()) + kWho) & ~kWho) | NodeTable::short_name(client);
}
NodeTable::Said heard(std::uint64_t word) {
  const std::chrono::nanoseconds at{static_cast<std::int64_t>(word & ~kWho)};
  return {std::chrono::steady_clock::time_point{at}, static_cast<std::uint16_t>(word & kWho)};
}

/// Field 22 of /proc/PID/stat; 0 if there is no such process. With the pid it names a process.
std::uint64_t start_time(pid_t pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
  std::string line;
  if (!std::getline(file, line)) return 0;
  const auto after_name = line.rfind(')');
  if (after_name == std::string::npos) return 0;
  std::istringstream fields{line.substr(after_name + 1)};
  std::string field;
  for (int i = 3; i <= 22; ++i)
    if (!(fields >> field)) return 0;
  return std::stoull(field);
}

}  // namespace

struct NodeTable::Slot {
  std::atomic<std::uint32_t> live;
  std::int32_t supervisor;
  std::uint64_t start;  // of the supervisor
  std::uint64_t netns;
  std::int32_t netns_fd;
  std::int32_t private_netns_fd;
  std::uint32_t address_count;
  std::array<char, 128> pod_id;
  std::array<IpAddress, kPodAddresses> addresses;
  alignas(64) std::array<std::atomic<std::uint64_t>, kLines> lines;
};

struct NodeTable::Ports {             // those of a slot with the same hash
  std::atomic<std::uint64_t> wanted;  // see said()
  std::atomic<std::uint64_t> spared;
  std::atomic<std::int64_t> left;  // how many listeners are left to the kernel
};

// Who looks for pods reads all slots, and keeps their pages. What is asked of one slot only lies
// behind them.

struct NodeTable::File {
  std::uint64_t magic;
  std::atomic<std::uint64_t> generation;  // grows with every change of a record
  alignas(64) std::array<Slot, kSlots> slots;
  alignas(64) std::array<std::array<Ports, kPortWords>, kSlots> ports;
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "shared between processes");

/// Where the file system is full, touching a page that it has not got yet would be SIGBUS.
Status make_room(int fd, std::size_t from, std::size_t size) {
  if (::fallocate(fd, 0, static_cast<off_t>(from), static_cast<off_t>(size)) < 0 &&
      errno != EOPNOTSUPP)
    return last_error("fallocate node table");
  return Done{};
}

NodeTable::Lock::Lock(int fd, std::mutex& mutex) : threads_{mutex}, fd_{fd} {
  while (::flock(fd_, LOCK_EX) < 0 && errno == EINTR) {
  }
}
NodeTable::Lock::~Lock() { ::flock(fd_, LOCK_UN); }

Result<std::unique_ptr<NodeTable>> NodeTable::open_file(const std::string& path) {
  UniqueFd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!fd.valid()) return last_error("open node table");
  std::mutex unshared;
  const Lock guard{fd.get(), unshared};
  // Whoever looks for pods reads all slots. Other pages cost nothing as long as nobody touches
  // them, so the file may as well have its full size at once.
  struct stat info {};
  if (::fstat(fd.get(), &info) < 0) return last_error("fstat node table");
  if (static_cast<std::size_t>(info.st_size) < sizeof(File) &&
      ::ftruncate(fd.get(), sizeof(File)) < 0)
    return last_error("ftruncate node table");
  if (const Status room = make_room(fd.get(), 0, offsetof(File, ports)); !room) return room.error();
  void* map = ::mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (map == MAP_FAILED) return last_error("mmap node table");
  auto* file = static_cast<File*>(map);
  if (file->magic == 0) {
    file->magic = kMagic;
    file->generation.store(1);
  }
  std::unique_ptr<NodeTable> table{new NodeTable{std::move(fd), file}};
  if (file->magic != kMagic) return Error{EPROTONOSUPPORT, "node table of another version"};
  return table;
}

Result<std::unique_ptr<NodeTable>> NodeTable::open(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0711) < 0 && errno != EEXIST) return last_error("mkdir");
  auto table = open_file(directory + kFiles[0]);
  if (!table && table.error().number == EPROTONOSUPPORT) table = open_file(directory + kFiles[1]);
  return table;
}

NodeTable::~NodeTable() {
  if (own_ != SIZE_MAX) {
    const Lock guard{fd_.get(), registering_};
    file_->slots[own_].live.store(0);
    file_->generation.fetch_add(1);
  }
  ::munmap(file_, sizeof(File));
}

std::vector<Pod> NodeTable::pods() {
  std::vector<Pod> result;
  for (std::size_t i = 0; i < kSlots; ++i) {
    Slot& slot = file_->slots[i];
    if (slot.live.load() == 0) continue;
    if (start_time(slot.supervisor) != slot.start) {
      slot.live.store(0);
      file_->generation.fetch_add(1);
      continue;
    }
    Pod pod;
    pod.slot = i;
    pod.supervisor = slot.supervisor;
    pod.record.pod_id.assign(slot.pod_id.data(), ::strnlen(slot.pod_id.data(), slot.pod_id.size()));
    pod.record.netns = slot.netns;
    pod.record.netns_fd = slot.netns_fd;
    pod.record.private_netns_fd = slot.private_netns_fd;
    const auto count = std::min<std::size_t>(slot.address_count, kPodAddresses);
    pod.record.addresses.assign(slot.addresses.begin(),
                                slot.addresses.begin() + static_cast<std::ptrdiff_t>(count));
    result.push_back(std::move(pod));
  }
  return result;
}

Status NodeTable::put(const PodRecord& record) {
  if (own_ == SIZE_MAX) {
    pods();  // clears the dead
    for (std::size_t i = 0; i < kSlots && own_ == SIZE_MAX; ++i)
      if (file_->slots[i].live.load() == 0) own_ = i;
    if (own_ == SIZE_MAX) return Error{ENOSPC, "node table"};
    const std::size_t ports = offsetof(File, ports) + own_ * sizeof file_->ports[0];
    if (const Status room = make_room(fd_.get(), ports, sizeof file_->ports[0]); !room) {
      own_ = SIZE_MAX;
      return room;
    }
    // Lines are not reset to 0: a server may hold a ticket of the last owner, and must see it pass.
    for (auto& line : file_->slots[own_].lines) line.store((line.load() + 1) & ~std::uint64_t{1});
    for (auto& port : file_->ports[own_]) {
      port.wanted = port.spared = 0;
      port.left = 0;
    }
  }
  Slot& slot = file_->slots[own_];
  slot.supervisor = ::getpid();
  slot.start = start_time(slot.supervisor);
  slot.netns = record.netns;
  slot.netns_fd = record.netns_fd;
  slot.private_netns_fd = record.private_netns_fd;
  slot.pod_id.fill('\0');
  record.pod_id.copy(slot.pod_id.data(), slot.pod_id.size() - 1);
  const std::size_t count = std::min(record.addresses.size(), kPodAddresses);
  std::copy_n(record.addresses.begin(), count, slot.addresses.begin());
  slot.address_count = static_cast<std::uint32_t>(count);
  slot.live.store(1);
  file_->generation.fetch_add(1);
  return Done{};
}

// Requires: mutex_ held.
void NodeTable::refresh() {
  const std::uint64_t generation = file_->generation.load(std::memory_order_acquire);
  if (generation == indexed_) return;
  // A stopped supervisor may hold the lock: then the old index serves a little longer.
  const std::unique_lock threads{registering_, std::try_to_lock};
  if (!threads.owns_lock() || ::flock(fd_.get(), LOCK_EX | LOCK_NB) < 0) return;
  index_.clear();
  for (Pod& pod : pods()) {
    const auto shared = std::make_shared<const Pod>(std::move(pod));
    for (const IpAddress& address : shared->record.addresses) index_.emplace(address, shared);
    if (shared->record.addresses.empty()) index_.emplace(IpAddress{}, shared);
  }
  indexed_ = file_->generation.load();
  ::flock(fd_.get(), LOCK_UN);
}

std::vector<std::shared_ptr<const Pod>> NodeTable::find(const IpAddress& address) {
  const std::lock_guard guard{mutex_};
  refresh();
  std::vector<std::shared_ptr<const Pod>> result;
  if (is_unspecified(address)) return result;
  const auto [from, to] = index_.equal_range(address);
  for (auto it = from; it != to; ++it) result.push_back(it->second);
  return result;
}

bool NodeTable::has(const IpAddress& address) {
  const std::lock_guard guard{mutex_};
  refresh();
  return index_.contains(address);
}

std::vector<std::shared_ptr<const Pod>> NodeTable::all() {
  const std::lock_guard guard{mutex_};
  refresh();
  std::vector<std::shared_ptr<const Pod>> result;
  for (const auto& [address, pod] : index_) result.push_back(pod);
  std::sort(result.begin(), result.end(),
            [](const auto& a, const auto& b) { return a->slot < b->slot; });
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

std::uint64_t NodeTable::begin(std::size_t line) {
  auto& word = file_->slots[own_].lines[line];
  const std::uint64_t ticket = (word.load(std::memory_order_relaxed) + 1) | 1;
  word.store(ticket, std::memory_order_seq_cst);
  return ticket;
}

bool NodeTable::commit(std::size_t line, std::uint64_t ticket) {
  return file_->slots[own_].lines[line].compare_exchange_strong(ticket, ticket + 1);
}

bool NodeTable::Undecided::any() const {
  return std::any_of(tickets.begin(), tickets.end(), [](std::uint64_t t) { return t != 0; });
}

NodeTable::Undecided NodeTable::undecided(std::size_t slot) const {
  Undecided result;
  result.slot = slot;
  for (std::size_t i = 0; i < kLines; ++i) {
    const std::uint64_t word = file_->slots[slot].lines[i].load();
    if ((word & 1) != 0) result.tickets[i] = word;
  }
  return result;
}

bool NodeTable::decided(const Undecided& since) const {
  for (std::size_t i = 0; i < kLines; ++i)
    if (since.tickets[i] != 0 && file_->slots[since.slot].lines[i].load() == since.tickets[i])
      return false;
  return true;
}

void NodeTable::refuse(const Undecided& since) const {
  for (std::size_t i = 0; i < kLines; ++i) {
    std::uint64_t ticket = since.tickets[i];
    if (ticket != 0) file_->slots[since.slot].lines[i].compare_exchange_strong(ticket, ticket + 1);
  }
}

bool NodeTable::nobody_decides() {
  const auto pods = all();
  {
    const std::lock_guard guard{mutex_};
    if (indexed_ != file_->generation.load()) return false;  // one may be missing
  }
  return std::none_of(pods.begin(), pods.end(),
                      [this](const auto& pod) { return undecided(pod->slot).any(); });
}

NodeTable::Ports& NodeTable::ports(std::size_t slot, std::uint16_t port) const {
  return file_->ports[slot][word_of(port)];
}

void NodeTable::leave_to_kernel(std::uint16_t port) { ports(own_, port).left.fetch_add(1); }

void NodeTable::take_from_kernel(std::uint16_t port) { ports(own_, port).left.fetch_sub(1); }

bool NodeTable::left_to_kernel(std::size_t slot, std::uint16_t port) const {
  return ports(slot, port).left.load() != 0;
}

void NodeTable::want(std::size_t slot, std::uint16_t port, const IpAddress& client) const {
  ports(slot, port).wanted.store(said(client));
}

NodeTable::Said NodeTable::wanted(std::uint16_t port) const {
  return heard(ports(own_, port).wanted.load());
}

void NodeTable::spare(std::size_t slot, std::uint16_t port, const IpAddress& client) const {
  ports(slot, port).spared.store(said(client));
}

NodeTable::Said NodeTable::spared(std::uint16_t port) const {
  return heard(ports(own_, port).spared.load());
}

std::uint16_t NodeTable::short_name(const IpAddress& client) {
  constexpr std::size_t kNames = 65535;
  return static_cast<std::uint16_t>(1 + std::hash<IpAddress>{}(client) % kNames);
}

}  // namespace shunt::local
