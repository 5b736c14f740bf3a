// What `shunt inspect -o json` prints, from the document of a pod.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "shim/command/inspect_text.h"

namespace shunt::command {

/// The document, indented for its place in the list of pods, with the names that `names` has for
/// the pods at the other ends of its connections. Everything else is as the shim said it, whatever
/// its version. Nothing if the text is no JSON object. In one go: some ten thousand connections are
/// a few megabytes.
std::optional<std::string> indented_document(std::string_view text, const PodNames& names);

}  // namespace shunt::command
