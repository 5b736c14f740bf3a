#include "netstack/local/taking_turns.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "netstack/base/unique_fd.h"

namespace shunt::local {
namespace {

static_assert(std::atomic<std::int64_t>::is_always_lock_free, "shared between processes");

std::int64_t number(TakingTurns::Clock::time_point time) {
  return std::chrono::nanoseconds{time.time_since_epoch()}.count();
}

}  // namespace

Result<TakingTurns> TakingTurns::open(const std::string& path) {
  const UniqueFd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!fd.valid()) return last_error("open");
  if (::ftruncate(fd.get(), sizeof(std::int64_t)) < 0) return last_error("ftruncate");
  // Where the file system is full, touching a page that it has not got yet would be SIGBUS.
  if (::fallocate(fd.get(), 0, 0, sizeof(std::int64_t)) < 0 && errno != EOPNOTSUPP)
    return last_error("fallocate");
  void* map =
      ::mmap(nullptr, sizeof(std::int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (map == MAP_FAILED) return last_error("mmap");
  return TakingTurns{static_cast<std::atomic<std::int64_t>*>(map)};
}

TakingTurns::~TakingTurns() {
  if (next_ != nullptr) ::munmap(next_, sizeof(std::int64_t));
}

bool TakingTurns::take(Clock::time_point now, Clock::time_point next, Clock::duration longest) {
  std::int64_t due = next_->load();
  if (due > number(now) && due <= number(now + longest)) return false;
  return next_->compare_exchange_strong(due, number(next));
}

void TakingTurns::set(Clock::time_point next) { next_->store(number(next)); }

}  // namespace shunt::local
