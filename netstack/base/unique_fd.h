// A descriptor of this process, closed exactly once. All of ours are opened close-on-exec.
#pragma once

#include <unistd.h>

#include <utility>

namespace shunt {

class UniqueFd {
 public:
  UniqueFd() noexcept = default;
  explicit UniqueFd(int fd) noexcept : fd_{fd} {}
  UniqueFd(UniqueFd&& other) noexcept : fd_{other.release()} {}
  UniqueFd& operator=(UniqueFd other) noexcept {  // by value: self-move is harmless
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);  // Linux frees the number even on EINTR: never retry
  }

  int get() const noexcept { return fd_; }  ///< borrowing is spelled out, never implicit
  bool valid() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept { *this = UniqueFd{}; }

 private:
  int fd_ = -1;
};

}  // namespace shunt
