#include "sandbox/notify.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include <array>
#include <cstring>
#include <functional>
#include <map>

using namespace shunt;
using namespace shunt::sandbox;

namespace {

/// A kernel that remembers what it was told, with larger structs than ours.
struct FakeKernel final : NotifyKernel {
  std::uint16_t grown = 0;
  int answer = 0;
  int interruptions = 0;
  int received_error = 0;
  std::map<unsigned long, std::vector<std::byte>> told;

  Status sizes(seccomp_notif_sizes& sizes) override {
    sizes.seccomp_notif = static_cast<__u16>(sizeof(seccomp_notif) + grown);
    sizes.seccomp_notif_resp = static_cast<__u16>(sizeof(seccomp_notif_resp) + grown);
    return Done{};
  }
  int receive(int, void* notification) override {
    const auto* bytes = static_cast<const unsigned char*>(notification);
    for (std::size_t i = 0; i < sizeof(seccomp_notif) + grown; ++i)
      if (bytes[i] != 0) return EINVAL;  // as Linux: the buffer must be zero
    std::memset(notification, 0xff, sizeof(seccomp_notif) + grown);
    return received_error;
  }
  int control(int, unsigned long request, void* argument) override {
    if (interruptions > 0) {
      --interruptions;
      return -EINTR;
    }
    std::size_t size = 0;
    if (request == SECCOMP_IOCTL_NOTIF_SEND) size = sizeof(seccomp_notif_resp) + grown;
    if (request == SECCOMP_IOCTL_NOTIF_ADDFD) size = sizeof(seccomp_notif_addfd);
    const auto* bytes = static_cast<const std::byte*>(argument);
    told[request].assign(bytes, bytes + size);
    return answer;
  }
  template <typename T>
  T last(unsigned long request) const {
    T value{};
    std::memcpy(&value, told.at(request).data(), sizeof value);
    return value;
  }
};

NotifyFd adopt(FakeKernel& kernel) { return std::move(*NotifyFd::adopt(UniqueFd{}, kernel)); }

}  // namespace

TEST_CASE("buffers are as large as the kernel's structs, and zero beyond ours") {
  FakeKernel kernel;
  kernel.grown = 32;
  NotifyFd notify = adopt(kernel);
  CHECK(notify.receive());
  CHECK(notify.receive());  // zeroed again
  CHECK(notify.send_value(7, 3));
  const auto& sent = kernel.told.at(SECCOMP_IOCTL_NOTIF_SEND);
  REQUIRE(sent.size() == sizeof(seccomp_notif_resp) + 32);
  for (std::size_t i = sizeof(seccomp_notif_resp); i < sent.size(); ++i)
    CHECK(sent[i] == std::byte{0});
}

TEST_CASE("an errno reaches the kernel negated, a value does not carry one") {
  FakeKernel kernel;
  const NotifyFd notify = adopt(kernel);
  CHECK(notify.send_error(7, ECONNREFUSED));
  auto response = kernel.last<seccomp_notif_resp>(SECCOMP_IOCTL_NOTIF_SEND);
  CHECK(response.id == 7);
  CHECK(response.error == -ECONNREFUSED);
  CHECK(response.val == 0);
  CHECK(notify.send_value(8, 5));
  response = kernel.last<seccomp_notif_resp>(SECCOMP_IOCTL_NOTIF_SEND);
  CHECK(response.error == 0);
  CHECK(response.val == 5);
  CHECK(notify.run_in_kernel(9));
  response = kernel.last<seccomp_notif_resp>(SECCOMP_IOCTL_NOTIF_SEND);
  CHECK(response.flags == SECCOMP_USER_NOTIF_FLAG_CONTINUE);
  CHECK(response.error == 0);
  CHECK(response.val == 0);
}

TEST_CASE("a new descriptor is installed and returned in one step, a replaced one is not") {
  FakeKernel kernel;
  const NotifyFd notify = adopt(kernel);
  CHECK(notify.install(7, 4, true));
  auto request = kernel.last<seccomp_notif_addfd>(SECCOMP_IOCTL_NOTIF_ADDFD);
  CHECK(request.flags == SECCOMP_ADDFD_FLAG_SEND);
  CHECK(request.srcfd == 4);
  CHECK(request.newfd_flags == O_CLOEXEC);
  CHECK(notify.replace(7, 4, 0, false));
  request = kernel.last<seccomp_notif_addfd>(SECCOMP_IOCTL_NOTIF_ADDFD);
  CHECK(request.flags == SECCOMP_ADDFD_FLAG_SETFD);
  CHECK(request.newfd == 0);
  CHECK(request.newfd_flags == 0);
}

TEST_CASE("a caller that is gone is an ordinary error") {
  FakeKernel kernel;
  NotifyFd notify = adopt(kernel);
  kernel.answer = -ENOENT;
  CHECK(!notify.waiting(7));
  const Status sent = notify.send_value(7, 0);
  REQUIRE(!sent);
  CHECK(sent.error().number == ENOENT);
  kernel.received_error = ENOENT;
  const auto received = notify.receive();
  REQUIRE(!received);
  CHECK(received.error().number == ENOENT);
}

TEST_CASE("what a signal interrupts is asked and said again") {
  FakeKernel kernel;
  const NotifyFd notify = adopt(kernel);
  for (const auto& ask : std::array<std::function<bool()>, 4>{
           [&] { return notify.waiting(7); }, [&] { return bool{notify.send_value(7, 1)}; },
           [&] { return bool{notify.install(7, 4, true)}; },
           [&] { return bool{notify.replace(7, 4, 5, true)}; }}) {
    kernel.interruptions = 3;
    CHECK(ask());
    CHECK(kernel.interruptions == 0);
  }
}
