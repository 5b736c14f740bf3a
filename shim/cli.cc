#include "shim/cli.h"

#include <map>

namespace shunt {

CommandLine parse_command_line(const std::vector<std::string>& arguments) {
  CommandLine line;
  const std::map<std::string, bool*> switches{{"debug", &line.debug},
                                              {"v", &line.version},
                                              {"version", &line.version},
                                              {"info", &line.info}};
  std::string ignored;
  const std::map<std::string, std::string*> values{{"namespace", &line.containerd_namespace},
                                                   {"id", &line.id},
                                                   {"address", &line.address},
                                                   {"publish-binary", &line.publish_binary},
                                                   {"bundle", &line.bundle},
                                                   {"config", &line.config_path},
                                                   {"socket", &ignored},
                                                   {"debug-socket", &ignored}};
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word.size() < 2 || word.front() != '-') {
      if (line.action.empty()) line.action = word;
      continue;
    }
    const auto equals = word.find('=');
    const auto start = word.find_first_not_of('-');
    if (start == std::string::npos) continue;
    const std::string name =
        word.substr(start, equals == std::string::npos ? equals : equals - start);
    if (const auto it = switches.find(name); it != switches.end()) {
      *it->second = equals == std::string::npos || word.substr(equals + 1) == "true";
    } else if (const auto value = values.find(name); value != values.end()) {
      if (equals != std::string::npos) {
        *value->second = word.substr(equals + 1);
      } else if (i + 1 < arguments.size()) {
        *value->second = arguments[++i];
      }
    }
  }
  return line;
}

}  // namespace shunt
