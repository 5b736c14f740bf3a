// The merged profile and the receiver against the runtime that they are made for: a container is
// created and entered with runc, every trapped call is answered "continue", and everything works.
// Needs root, runc and a static busybox; says so and passes where one of them is missing.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "sandbox/profile/merge.h"
#include "sandbox/profile/receive.h"
#include "sandbox/profile/testing/traps.h"

namespace shunt::sandbox {
namespace {

namespace fs = std::filesystem;
constexpr const char* kBusybox = "/bin/busybox";

Json config_for(const std::vector<std::string>& args, const Json& seccomp) {
  Json config = Json::parse(R"({
    "ociVersion": "1.0.2-dev",
    "process": {"user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"], "cwd": "/"},
    "root": {"path": "rootfs"},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "mount"}]}})");
  config["process"]["args"] = args;
  if (!seccomp.is_null()) config["linux"]["seccomp"] = seccomp;
  return config;
}

/// A bundle, a listening socket and the containers of one test; all gone at the end.
class Bundle {
 public:
  Bundle() {
    char name[] = "/tmp/shunt-runtime-test-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path = name;
    fs::create_directories(path / "rootfs/bin");
    fs::create_directories(path / "rootfs/proc");
    fs::copy_file(kBusybox, path / "rootfs/bin/busybox");
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
    listener = UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener.get(), 8) == 0);
  }
  ~Bundle() {
    int status = 0;
    ::waitpid(runc({"delete", "--force", id()}), &status, 0);
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }

  std::string id() const { return path.filename().string(); }
  std::string socket_path() const { return (path / "listener").string(); }

  /// Starts runc with its output thrown away, and gives its pid.
  pid_t runc(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"runc", "--root", (path / "state").string()});
    std::vector<char*> argv;
    argv.reserve(arguments.size() + 1);
    for (std::string& each : arguments) argv.push_back(each.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_addopen(&actions, 1, (path / "output").c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t pid = -1;
    const int rc = ::posix_spawnp(&pid, "runc", &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    REQUIRE(rc == 0);
    return pid;
  }

  std::string output() const {
    std::ifstream file(path / "output");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  fs::path path;
  UniqueFd listener;
};

/// Serves listeners until a process ends: receives descriptors and lets every trapped call run.
class Continuer {
 public:
  explicit Continuer(int listener) : listener_{listener} {}

  /// The exit status of `pid`, or -1 when it does not end within 30 seconds.
  int serve_until_end_of(pid_t pid) {
    const UniqueFd process{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
    for (int idle = 0; idle < 300;) {
      std::vector<pollfd> watched = {{process.get(), POLLIN, 0}, {listener_, POLLIN, 0}};
      for (const ListenerReceiver& each : receivers_) watched.push_back({each.fd(), POLLIN, 0});
      for (const UniqueFd& each : notify_fds_) watched.push_back({each.get(), POLLIN, 0});
      if (::poll(watched.data(), watched.size(), 100) == 0) ++idle;
      for (std::size_t i = 2 + receivers_.size(); i < watched.size(); ++i)
        if ((watched[i].revents & POLLIN) != 0) answer(watched[i].fd);
      for (std::size_t i = receivers_.size(); i-- > 0;)
        if (watched[2 + i].revents != 0) receive(i);
      if (watched[1].revents != 0)
        receivers_.emplace_back(UniqueFd{::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)});
      // A short program may be over before its message was looked at.
      const bool quiet = watched[1].revents == 0 && receivers_.empty();
      int status = 0;
      if (quiet && watched[0].revents != 0 && ::waitpid(pid, &status, 0) == pid)
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return -1;
  }

  std::vector<ProcessState> states;
  std::map<int, int> calls;  ///< notifications by system call number

 private:
  void receive(std::size_t index) {
    auto received = receivers_[index].on_readable();
    if (received && !received->has_value()) return;
    CHECK(received);
    if (received) {
      states.push_back((*received)->state);
      notify_fds_.push_back(std::move((*received)->notify));
    }
    receivers_.erase(receivers_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  void answer(int notify) {
    seccomp_notif call{};
    if (::ioctl(notify, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) return;
    ++calls[call.data.nr];
    seccomp_notif_resp response{};
    response.id = call.id;
    response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    ::ioctl(notify, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }

  int listener_;
  std::vector<ListenerReceiver> receivers_;
  std::vector<UniqueFd> notify_fds_;
};

bool can_run() {
  if (::geteuid() == 0 && ::access(kBusybox, X_OK) == 0 && ::access("/usr/sbin/runc", X_OK) == 0)
    return true;
  MESSAGE("skipped: needs root, runc and a static busybox");
  return false;
}

TEST_CASE("runc takes the merged profile, and its message for create and exec is understood") {
  if (!can_run()) return;
  Json seccomp;
  SUBCASE("no profile") {}
  SUBCASE("containerd's default profile") {
    std::ifstream file(SHUNT_TESTDATA "/containerd-default.json");
    seccomp = Json::parse(file);
  }
  bool no_new_privileges = false;
  SUBCASE("") {}
  SUBCASE("with noNewPrivileges") { no_new_privileges = true; }

  Bundle bundle;
  Json config = config_for({"busybox", "sleep", "60"}, seccomp);
  config["process"]["noNewPrivileges"] = no_new_privileges;
  const std::vector<Trap> traps = testing::sample_traps();
  const MergeReport report = merge_traps(config, traps, {bundle.socket_path(), "the pod"});
  REQUIRE(report.listener_installed);
  std::ofstream(bundle.path / "config.json") << serialise_config(config);

  Continuer continuer{bundle.listener.get()};
  const std::string bundle_path = bundle.path.string();
  const int created = continuer.serve_until_end_of(
      bundle.runc({"run", "--detach", "--bundle", bundle_path, bundle.id()}));
  CHECK_MESSAGE(created == 0, bundle.output());
  REQUIRE(continuer.states.size() == 1);
  CHECK(continuer.states[0].container_id == bundle.id());
  CHECK(continuer.states[0].status == "creating");
  CHECK(continuer.states[0].metadata == "the pod");
  CHECK(continuer.states[0].bundle == bundle_path);
  CHECK(continuer.states[0].pid > 0);

  // Nobody listens there, and loopback is down: the kernel's own answer comes through.
  const int nc = continuer.serve_until_end_of(
      bundle.runc({"exec", bundle.id(), "busybox", "nc", "127.0.0.1", "9"}));
  CHECK(nc == 1);
  REQUIRE(continuer.states.size() == 2);
  CHECK(continuer.states[1].status == "running");
  CHECK(continuer.states[1].pid != continuer.states[0].pid);
  CHECK(continuer.calls[SYS_connect] == 1);

  CHECK(continuer.serve_until_end_of(bundle.runc({"exec", bundle.id(), "busybox", "true"})) == 0);
  CHECK(continuer.states.size() == 3);
  CHECK(continuer.calls[SYS_ioctl] == 0);
}

}  // namespace
}  // namespace shunt::sandbox
