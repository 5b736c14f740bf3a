#include "shim/command/inspect.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
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

constexpr timeval kPatience{5, 0};  // with a shim that says nothing

struct Pod {
  std::string socket;
  Json head;
};

/// What a shim says. ECONNREFUSED, ENOENT: there is none, or no more. ETIMEDOUT: it is silent.
Result<std::string> ask(const std::string& socket, InspectWish wish) {
  const auto shim = connect_inspect(socket, wish);
  if (!shim) return shim.error();
  ::setsockopt(shim->get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  std::string text;
  std::size_t size = 0;
  while (true) {
    if (text.size() - size < (64U << 10U)) text.resize(2 * size + (256U << 10U));
    const ssize_t n = ::recv(shim->get(), text.data() + size, text.size() - size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return Error{ETIMEDOUT, "recv"};
    if (n < 0) return last_error("recv");
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  text.resize(size);
  return text;
}

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

int inspect_once(const InspectOptions& options) {
  const std::string directory = inspect_directory(options.state);
  std::error_code problem;
  std::vector<std::string> sockets;
  for (const auto& entry : std::filesystem::directory_iterator{directory, problem})
    sockets.push_back(entry.path());
  if (problem && problem != std::errc::no_such_file_or_directory) {
    std::fprintf(stderr, "shunt: cannot read %s: %s\n", directory.c_str(),
                 problem.message().c_str());
    return 1;
  }
  std::sort(sockets.begin(), sockets.end());

  // First who is there, which takes a shim next to nothing; then everything from those meant.
  bool silent = false;
  PodNames names;
  std::vector<Pod> pods;
  for (const std::string& socket : sockets) {
    const auto head = ask(socket, InspectWish::kHead);
    if (!head) {
      if (is_nobody(head.error())) continue;
      complain(socket, head.error());
      silent = true;
      continue;
    }
    Json document = Json::parse(*head, nullptr, false);
    if (!document.is_object()) continue;
    if (const std::string name = pod_name_of(document); !name.empty())
      names[text_of(list_of(document, "pod"), "id")] = name;
    if (is_named(document, options.name)) pods.push_back({socket, std::move(document)});
  }

  std::size_t found = 0;
  std::string text;
  JsonWriter list{2};
  list.begin_array();
  for (const Pod& pod : pods) {
    const auto answer = ask(pod.socket, InspectWish::kEverything);
    if (!answer) {
      if (is_nobody(answer.error())) continue;  // it has left meanwhile
      complain(pod.socket, answer.error());
      silent = true;
      continue;
    }
    if (options.json) {
      const auto document = indented_document(*answer, names);
      if (!document) continue;
      list.verbatim(*document);
    } else {
      const Json document = Json::parse(*answer, nullptr, false);
      if (!document.is_object()) continue;
      add_pod(text, document, names);
    }
    ++found;
  }
  list.end_array();
  if (found == 0 && silent) return 1;
  if (found == 0 && !options.name.empty()) {
    std::fprintf(stderr,
                 "shunt: no pod or container \"%s\" runs under Shunt here (state directory %s)\n",
                 options.name.c_str(), options.state.c_str());
    return 1;
  }
  if (options.json) text = list.take() + "\n";
  if (text.empty())
    text = "No pod runs under Shunt here (state directory " + options.state + ").\n";
  // Only now, so that the terminal is not empty while shims are asked.
  if (options.watch && !options.json) text.insert(0, "\033[H\033[2J");
  return print(text) ? 0 : 1;
}

}  // namespace

int inspect(const InspectOptions& options) {
  while (true) {
    const int code = inspect_once(options);
    if (!options.watch || code != 0) return code;
    std::this_thread::sleep_for(std::chrono::seconds{1});
  }
}

}  // namespace shunt::command
