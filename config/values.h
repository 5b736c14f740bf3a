// One overload set per type of value: from YAML text to the type, back to text, and the words in
// which a complaint describes what is expected. A new type of key needs these three and no more.
//
// read_value() leaves `into` alone unless it succeeds. The text of its problem is the end of a
// sentence that begins with the key's name: `must be true or false, not "yes"`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "config/document.h"

namespace shunt::config {

using Parsed = Result<Done, Problem>;

Parsed read_value(const YamlNode& node, bool& into);
Parsed read_value(const YamlNode& node, std::string& into);
Parsed read_value(const YamlNode& node, std::uint32_t& into);  ///< a count: plain digits
Parsed read_value(const YamlNode& node, std::uint64_t& into);  ///< a size in bytes: 65536, 64KiB
Parsed read_value(const YamlNode& node, Milliseconds& into);   ///< 500ms, 10s, 2m, 1h
Parsed read_value(const YamlNode& node, log::Level& into);
Parsed read_value(const YamlNode& node, Pair& into);
Parsed read_value(const YamlNode& node, IoUring& into);
Parsed read_value(const YamlNode& node, ShortLived& into);
Parsed read_value(const YamlNode& node, std::int32_t& into);  ///< a number: digits, perhaps with -
Parsed read_value(const YamlNode& node, Guard& into);
Parsed read_value(const YamlNode& node, std::vector<Cidr>& into);
Parsed read_value(const YamlNode& node, std::vector<FabricName>& into);

/// As one would write it in the file. The largest unit that fits without a fraction is used.
std::string write_value(bool value);
std::string write_value(const std::string& value);
std::string write_value(std::uint32_t value);
std::string write_value(std::uint64_t value);
std::string write_value(Milliseconds value);
std::string write_value(log::Level value);
std::string write_value(Pair value);
std::string write_value(IoUring value);
std::string write_value(ShortLived value);
std::string write_value(std::int32_t value);
std::string write_value(Guard value);
std::string write_value(const std::vector<Cidr>& value);
std::string write_value(const std::vector<FabricName>& value);

/// Text of unknown origin, made safe for one line of a message: shortened, and with anything but
/// printable ASCII as \xNN.
std::string printable(std::string_view text);
/// The same in quotes.
std::string quote(std::string_view text);

/// What a node is, for "not ...": `"yes"`, `a list`, `a mapping`.
std::string describe(const YamlNode& node);

}  // namespace shunt::config
