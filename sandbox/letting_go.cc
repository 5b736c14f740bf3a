#include "sandbox/letting_go.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>

#include "sandbox/holders.h"
#include "sandbox/socket_notes.h"

namespace shunt::sandbox {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kLongest{1};  // of CPU time, in the pod
// All descriptors of the node take 5 us each, and any program can make us look: so it is 1 % of a
// CPU at most.
constexpr std::chrono::milliseconds kLongestElsewhere{100};
constexpr int kRest = 100;
std::atomic<Clock::time_point> next_elsewhere{};

void set_linger(int socket, bool reset) {
  const linger value{reset ? 1 : 0, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &value, sizeof value);
}

UniqueFd find(std::uint64_t inode, std::uint64_t cookie, pid_t tid, std::uint64_t netns) {
  UniqueFd result;
  const Holders::Found found = [&](std::uint32_t, int socket) {
    const auto its = socket_cookie(socket);
    if (its && *its == cookie) result = UniqueFd{::fcntl(socket, F_DUPFD_CLOEXEC, 0)};
    return result.valid();
  };
  const auto begun = own_cpu_time();
  Holders::Inodes wanted{static_cast<std::uint32_t>(inode)};
  Holders::find_in(tid, wanted, begun + kLongest, found);
  if (wanted.empty()) return result;
  Holders holders;
  holders.find(netns, wanted, begun + kLongest, found);
  if (wanted.empty() || Clock::now() < next_elsewhere.load()) return result;
  holders.find_elsewhere({netns}, wanted, own_cpu_time() + kLongestElsewhere, found);
  next_elsewhere = Clock::now() + kRest * (own_cpu_time() - begun);
  return result;
}

}  // namespace

LettingGo::LettingGo(UniqueFd tcp, std::uint64_t inode, std::uint64_t cookie, UniqueFd& watch)
    : tcp_{std::move(tcp)}, watch_{&watch}, inode_{inode}, cookie_{cookie} {
  struct stat info {};
  if (inode_ == 0 && ::fstat(tcp_.get(), &info) == 0) inode_ = info.st_ino;
  if (!watch_->valid()) *watch_ = UniqueFd{::epoll_create1(EPOLL_CLOEXEC)};
  epoll_event event{};
  event.events = EPOLLOUT;  // an established connection is writable: an entry is an event
  watched_ = ::epoll_ctl(watch_->get(), EPOLL_CTL_ADD, tcp_.get(), &event) == 0;
}

LettingGo::~LettingGo() {
  if (tcp_.valid()) ::epoll_ctl(watch_->get(), EPOLL_CTL_DEL, tcp_.get(), nullptr);
}

std::optional<UniqueFd> LettingGo::close_unless_shared(pid_t tid, std::uint64_t netns) {
  set_linger(tcp_.get(), true);
  tcp_.reset();
  if (!watched_) return UniqueFd{};
  epoll_event event{};
  if (::epoll_wait(watch_->get(), &event, 1, 0) <= 0) return std::nullopt;

  // The entry cannot be named any more: its descriptor is closed. So the instance goes.
  *watch_ = UniqueFd{::epoll_create1(EPOLL_CLOEXEC)};
  UniqueFd found = find(inode_, cookie_, tid, netns);
  if (found.valid()) set_linger(found.get(), false);
  return found;
}

}  // namespace shunt::sandbox
