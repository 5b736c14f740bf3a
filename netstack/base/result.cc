#include "netstack/base/result.h"

#include <cstring>

namespace shunt {

std::string errno_name(int number) {
  if (const char* name = ::strerrorname_np(number)) return name;
  return "errno " + std::to_string(number);
}

std::string describe(const Error& error) {
  const char* text = ::strerrordesc_np(error.number);
  return std::string{error.where} + ": " + errno_name(error.number) +
         (text != nullptr ? " (" + std::string{text} + ")" : "");
}

}  // namespace shunt
