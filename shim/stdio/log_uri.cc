#include "shim/stdio/log_uri.h"

#include <cstdlib>

namespace shunt {
namespace {

std::string decoded(std::string_view text, bool plus_is_blank) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto hex = [&](std::size_t at) {
      return at < text.size() && std::isxdigit(static_cast<unsigned char>(text[at])) != 0;
    };
    if (text[i] == '%' && hex(i + 1) && hex(i + 2)) {
      out +=
          static_cast<char>(std::strtol(std::string{text.substr(i + 1, 2)}.c_str(), nullptr, 16));
      i += 2;
    } else {
      out += plus_is_blank && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

}  // namespace

LogUri parse_log_uri(std::string_view name) {
  LogUri uri;
  const auto colon = name.find("://");
  if (colon == std::string_view::npos) {
    uri.path = name;
    return uri;
  }
  uri.text = name.substr(0, colon);
  uri.scheme = uri.text == "fifo"                                ? LogUri::kFifo
               : uri.text == "file"                              ? LogUri::kFile
               : uri.text == "binary" || uri.text == "binary-v2" ? LogUri::kBinary
                                                                 : LogUri::kUnknown;
  std::string_view rest = name.substr(colon + 3);
  const auto mark = rest.find('?');
  uri.path = decoded(rest.substr(0, mark), false);
  rest = mark == std::string_view::npos ? "" : rest.substr(mark + 1);
  while (!rest.empty()) {
    const auto pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const auto equals = pair.find('=');
    uri.query.emplace_back(
        decoded(pair.substr(0, equals), true),
        equals == std::string_view::npos ? "" : decoded(pair.substr(equals + 1), true));
  }
  return uri;
}

}  // namespace shunt
