#include "shim/cgroup/attach_ahead.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string>

#include "netstack/base/unique_fd.h"

using namespace shunt;

namespace {

/// A fifo in place of the kernel's file: what is written there can be waited for.
class Written {
 public:
  Written() {
    std::string name = (std::filesystem::temp_directory_path() / "attach-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
    path_ = name + "/tasks";
    REQUIRE(::mkfifo(path_.c_str(), 0600) == 0);
    fifo_ = UniqueFd{::open(path_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC)};
    REQUIRE(fifo_.valid());
  }
  ~Written() { std::filesystem::remove_all(folder_); }
  Written(const Written&) = delete;
  Written& operator=(const Written&) = delete;

  const std::string& path() const { return path_; }
  std::string wait() {
    pollfd entry{fifo_.get(), POLLIN, 0};
    REQUIRE(::poll(&entry, 1, 60'000) == 1);
    std::array<char, 256> text{};
    const ssize_t size = ::read(fifo_.get(), text.data(), text.size());
    REQUIRE(size > 0);
    return {text.data(), static_cast<std::size_t>(size)};
  }

 private:
  std::string folder_;
  std::string path_;
  UniqueFd fifo_;
};

}  // namespace

TEST_CASE("a thread of our own is moved to where it is, for each hold again") {
  Written written;
  AttachAhead ahead{[&] { return written.path(); }};
  {
    const AttachAhead::Hold hold{ahead};
    const std::string line = written.wait();
    const std::string id = line.substr(0, line.find('\n'));
    CHECK(id != std::to_string(::getpid()));
    CHECK(std::filesystem::exists("/proc/self/task/" + id));
  }
  {
    const AttachAhead::Hold hold{ahead};
    CHECK_FALSE(written.wait().empty());
    const AttachAhead::Hold another{ahead};
  }
}

TEST_CASE("without a file nothing happens, and nobody waits") {
  AttachAhead ahead{[] { return std::string{}; }};
  const AttachAhead::Hold hold{ahead};
}

TEST_CASE("the file of this thread's cgroup lists it") {
  const std::string file = AttachAhead::own_threads_file();
  if (file.empty() || ::access(file.c_str(), W_OK) != 0) return;  // no cgroup filesystem here
  const UniqueFd threads{::open(file.c_str(), O_WRONLY | O_CLOEXEC)};
  const std::string self = std::to_string(::gettid());
  CHECK(::write(threads.get(), self.data(), self.size()) == static_cast<ssize_t>(self.size()));
}
