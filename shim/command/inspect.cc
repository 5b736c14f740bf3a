#include "shim/command/inspect.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <thread>
#include <vector>

#include "shim/command/inspect_json.h"
#include "shim/command/inspect_text.h"
#include "shim/inspect/server.h"
#include "shim/json_writer.h"

namespace shunt::command {
namespace {

using Json = nlohmann::ordered_json;

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{5};  // with shims that say nothing

/// Who is there.
struct Census {
  PodNames names;
  std::vector<std::string> meant;  ///< sockets of the shims whose pods were asked for
  bool silent = false;             ///< some shim did not answer
};

/// What the shim at the other end says. ETIMEDOUT: not all of it in time.
Result<std::string> hear(int shim, Clock::time_point until) {
  constexpr std::size_t kLeast = 64U << 10U;
  std::string text;
  std::size_t size = 0;
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd entry{shim, POLLIN, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return Error{ETIMEDOUT, "recv"};
    if (text.size() - size < kLeast) text.resize(2 * size + 4 * kLeast);
    const ssize_t n = ::recv(shim, text.data() + size, text.size() - size, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return last_error("recv");
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  text.resize(size);
  return text;
}

Result<std::string> ask_everything(const std::string& socket) {
  const auto shim = connect_inspect(socket, InspectWish::kEverything);
  if (!shim) return shim.error();
  return hear(shim->get(), Clock::now() + kPatience);
}

/// There is no shim, or no more.
bool is_nobody(const Error& error) {
  return error.number == ECONNREFUSED || error.number == ENOENT;
}

void complain(const std::string& socket, const Error& error) {
  std::fprintf(stderr, "shunt: the shim at %s %s\n", socket.c_str(),
               error.number == ETIMEDOUT ? "does not answer"
                                         : ("cannot be asked: " + describe(error)).c_str());
}

bool is_named(const Json& document, const std::string& name) {
  if (name.empty()) return true;
  const Json& pod = list_of(document, "pod");
  const std::string pod_name = text_of(pod, "name");
  if (name == pod_name || name == pod_name_of(document) || text_of(pod, "id").starts_with(name))
    return true;
  for (const Json& container : list_of(document, "containers"))
    if (text_of(container, "id").starts_with(name) || text_of(container, "name") == name)
      return true;
  return false;
}

/// False: standard output takes no more. Whoever reads a pipe may have had enough of it.
bool print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
    return true;
  if (errno != EPIPE) std::fprintf(stderr, "shunt: cannot write: %s\n", std::strerror(errno));
  return false;
}

Census look_around(const std::vector<std::string>& sockets, const std::string& name) {
  Census census;
  std::vector<Result<UniqueFd>> shims;  // all asked before one is heard
  shims.reserve(sockets.size());
  for (const std::string& socket : sockets)
    shims.push_back(connect_inspect(socket, InspectWish::kHead));
  const auto until = Clock::now() + kPatience;
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    const auto head = shims[i] ? hear(shims[i]->get(), until) : shims[i].error();
    if (!head) {
      if (is_nobody(head.error())) continue;
      complain(sockets[i], head.error());
      census.silent = true;
      continue;
    }
    const Json document = Json::parse(*head, nullptr, false);
    if (!document.is_object()) continue;
    if (const std::string pod = pod_name_of(document); !pod.empty())
      census.names[text_of(list_of(document, "pod"), "id")] = pod;
    if (is_named(document, name)) census.meant.push_back(sockets[i]);
  }
  return census;
}

int inspect_once(const InspectOptions& options, bool again) {
  const std::string directory = inspect_directory(options.state);
  std::error_code problem;
  std::vector<std::string> sockets;
  for (const auto& entry : std::filesystem::directory_iterator{directory, problem})
    sockets.push_back(entry.path());
  if (problem && problem != std::errc::no_such_file_or_directory) {
    std::fprintf(stderr, "shunt: cannot read %s: %s%s\n", directory.c_str(),
                 problem.message().c_str(), ::geteuid() == 0 ? "" : "; inspect needs root");
    return 1;
  }
  std::sort(sockets.begin(), sockets.end());

  const bool is_there = std::filesystem::exists(options.state, problem);
  const std::string state =
      (is_there ? "state directory " : "there is no state directory ") + options.state;

  // First who is there, which takes a shim next to nothing; then everything from those meant.
  Census census = look_around(sockets, options.name);
  std::size_t found = 0;
  std::string text;
  JsonWriter list{2};
  list.begin_array();
  for (const std::string& socket : census.meant) {
    const auto answer = ask_everything(socket);
    if (!answer) {
      if (is_nobody(answer.error())) continue;  // it has left meanwhile
      complain(socket, answer.error());
      census.silent = true;
      continue;
    }
    if (options.json) {
      const auto document = indented_document(*answer, census.names);
      if (!document) continue;
      list.verbatim(*document);
    } else {
      const Json document = Json::parse(*answer, nullptr, false);
      if (!document.is_object()) continue;
      add_pod(text, document, census.names);
    }
    ++found;
  }
  list.end_array();
  if (found == 0 && census.silent) return 1;
  if (found == 0 && !options.name.empty()) {
    std::fprintf(stderr, "shunt: no pod or container \"%s\" runs under Shunt here%s (%s)\n",
                 options.name.c_str(), again ? " any more" : "", state.c_str());
    return 1;
  }
  if (options.json) text = list.take() + "\n";
  if (text.empty()) text = "No pod runs under Shunt here (" + state + ").\n";
  // Only now, so that the terminal is not empty while shims are asked.
  if (options.watch && !options.json) text.insert(0, "\033[H\033[2J");
  return print(text) ? 0 : 1;
}

}  // namespace

int inspect(const InspectOptions& options) {
  for (bool again = false;; again = true) {
    const int code = inspect_once(options, again);
    if (!options.watch || code != 0) return code;
    std::this_thread::sleep_for(std::chrono::seconds{1});
  }
}

}  // namespace shunt::command
