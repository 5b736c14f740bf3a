#include "sandbox/left_to_kernel.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <string_view>

namespace shunt::sandbox {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// So many strangers in a row, within that time, are worth it.
constexpr int kRow = 64;
constexpr seconds kRowsTime{1};
constexpr milliseconds kSeldom{100};  // between two accepts: not worth it any more
constexpr seconds kHold{60};          // after a Shunt pod came
constexpr seconds kStragglers{1};     // may still be accepted after their pod has said its word
constexpr std::size_t kMostAway = 256;

/// The thread is inside accept(2), or may be: one that is running does not say where it is.
bool may_be_accepting(pid_t tid) {
  const std::string path = "/proc/" + std::to_string(tid) + "/syscall";
  const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file.valid()) return errno != ENOENT;
  std::array<char, 128> text{};
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size <= 0) return errno != ESRCH;
  const std::string_view view{text.data(), static_cast<std::size_t>(size)};
  long number = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), number);
  return error != std::errc{} || number == __NR_accept || number == __NR_accept4;
}

}  // namespace

void LeftToKernel::came(std::uint16_t pod, Clock::time_point at) {
  pod_ = at < not_before_ && pod != pod_ ? std::uint16_t{0} : pod;
  not_before_ = std::max(not_before_, at + kHold);
}

void LeftToKernel::handed_out(bool stranger, const IpAddress& client, Clock::time_point now) {
  const std::lock_guard guard{mutex_};
  if (!stranger) {
    strangers_ = 0;
    often_ = false;
    handed_ = now;
    came(local::NodeTable::short_name(client), now);
    return;
  }
  if (strangers_ == 0) first_of_row_ = now;
  if (++strangers_ < kRow) return;
  often_ = now - first_of_row_ <= kRowsTime;
  strangers_ = 0;
}

bool LeftToKernel::worth_it(std::uint16_t port, const local::NodeTable& table,
                            Clock::time_point now) {
  const std::lock_guard guard{mutex_};
  if (!often_ || state_ != State::kOurs) return false;
  const auto wanted = table.wanted(port);
  if (wanted.at > wanted_) {
    wanted_ = wanted.at;
    came(wanted.by, wanted.at);
  }
  if (now >= not_before_) return true;
  const auto spared = table.spared(port);
  return spared.by == pod_ && spared.at > wanted_ && spared.at + kStragglers > handed_;
}

bool LeftToKernel::begin(int socket, std::uint16_t port, local::NodeTable& table,
                         local::Mailbox* mailbox, Clock::time_point now) {
  const std::lock_guard guard{mutex_};
  if (state_ != State::kOurs || mailbox == nullptr) return false;
  UniqueFd mark{::epoll_create1(EPOLL_CLOEXEC)};
  epoll_event event{};
  if (::epoll_ctl(mark.get(), EPOLL_CTL_ADD, socket, &event) < 0) return false;
  began_ = now;
  // In this order: a client that does not see the word has its line open until its offer lies in
  // the mailbox.
  table.leave_to_kernel(port);
  if (!table.nobody_decides() || !mailbox->shut()) {
    table.take_from_kernel(port);
    return false;
  }
  mark_ = std::move(mark);
  marked_as_ = socket;
  self_ = ::getpid();
  port_ = port;
  state_ = State::kKernels;
  last_ = now;
  return true;
}

bool LeftToKernel::is_marked(pid_t tid, int number) const {
  kcmp_epoll_slot slot{};
  slot.efd = static_cast<__u32>(mark_.get());
  slot.tfd = static_cast<__u32>(marked_as_);
  return ::syscall(SYS_kcmp, tid, self_, KCMP_EPOLL_TFD, number,
                   reinterpret_cast<unsigned long>(&slot)) == 0;
}

bool LeftToKernel::covers(pid_t tid, int number, bool only, const local::NodeTable& table,
                          Clock::time_point now) {
  const std::lock_guard guard{mutex_};
  if (state_ != State::kKernels) return false;
  const auto before = std::find_if(away_.begin(), away_.end(),
                                   [tid](const Away& entry) { return entry.tid == tid; });
  const bool known = before != away_.end();
  // The question costs as much as a third of the trap.
  if (!(only && known && before->number == number) && !is_marked(tid, number)) return false;
  const bool wanted = table.wanted(port_).at > began_;  // worth_it() takes it to heart
  if (wanted || now - last_ > kSeldom || (!known && away_.size() >= kMostAway)) {
    state_ = State::kComingHome;
    often_ = false;
    strangers_ = 0;
    return false;
  }
  last_ = now;
  if (known) {
    before->number = number;
  } else {
    away_.push_back({tid, number});
  }
  return true;
}

void LeftToKernel::came_home(pid_t tid, local::NodeTable& table, local::Mailbox* mailbox) {
  const std::lock_guard guard{mutex_};
  if (state_ == State::kOurs) return;
  std::erase_if(away_, [tid](const Away& entry) { return entry.tid == tid; });
  if (state_ == State::kComingHome && away_.empty()) finish(table, mailbox);
}

void LeftToKernel::look_after(local::NodeTable& table, local::Mailbox* mailbox,
                              Clock::time_point now) {
  const std::lock_guard guard{mutex_};
  if (state_ == State::kOurs) return;
  if (state_ == State::kKernels && now - last_ > kSeldom) state_ = State::kComingHome;
  if (state_ == State::kKernels) return;
  // Somebody may wait in accept(2) for hours, which matters when a Shunt pod comes.
  const bool wanted = table.wanted(port_).at > looked_;
  if (!wanted && now - looked_ < kHold) return;
  looked_ = now;
  std::erase_if(away_, [](const Away& entry) { return !may_be_accepting(entry.tid); });
  if (away_.empty()) finish(table, mailbox);
}

void LeftToKernel::end(local::NodeTable& table, local::Mailbox* mailbox) {
  const std::lock_guard guard{mutex_};
  if (state_ != State::kOurs) finish(table, mailbox);
}

void LeftToKernel::finish(local::NodeTable& table, local::Mailbox* mailbox) {
  state_ = State::kOurs;
  often_ = false;
  strangers_ = 0;
  away_.clear();
  mark_.reset();
  if (mailbox != nullptr) mailbox->open_again();
  table.take_from_kernel(port_);
}

}  // namespace shunt::sandbox
