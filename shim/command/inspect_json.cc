#include "shim/command/inspect_json.h"

#include "shim/json_writer.h"

namespace shunt::command {
namespace {

using Json = nlohmann::ordered_json;

constexpr unsigned kIndent = 2;
constexpr unsigned kDepth = 1;  // in the list of pods

// Depths in a document: 1 its members, 2 the elements of `connections`, 3 the members of these.
class Copy final : public nlohmann::json_sax<Json> {
 public:
  explicit Copy(const PodNames& names) : names_{names} {}
  std::string take() { return json_.take(); }

  bool null() override { return json_.null(), is_object(); }
  bool boolean(bool value) override { return json_.boolean(value), is_object(); }
  bool number_integer(std::int64_t value) override { return json_.number(value), is_object(); }
  bool number_unsigned(std::uint64_t value) override { return json_.number(value), is_object(); }
  bool number_float(double, const std::string& text) override {
    return json_.verbatim(text), is_object();
  }
  bool string(std::string& value) override {
    if (peer_follows_) {
      const auto name = names_.find(value);
      peer_ = name == names_.end() ? nullptr : &name->second;
    }
    json_.string(value);
    return is_object();
  }
  bool binary(Json::binary_t&) override { return false; }
  bool key(std::string& name) override {
    in_connections_ = depth_ == 1 ? name == "connections" : in_connections_;
    peer_follows_ = in_connections_ && depth_ == 3 && name == "peer_pod";
    json_.key(name);
    return true;
  }
  bool start_object(std::size_t) override {
    ++depth_;
    json_.begin_object();
    return true;
  }
  bool end_object() override {
    if (in_connections_ && depth_ == 3 && peer_ != nullptr)
      json_.string("peer_pod_name", *std::exchange(peer_, nullptr));
    --depth_;
    json_.end_object();
    return true;
  }
  bool start_array(std::size_t) override {
    if (!is_object()) return false;
    ++depth_;
    json_.begin_array();
    return true;
  }
  bool end_array() override {
    --depth_;
    json_.end_array();
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override {
    return false;
  }

 private:
  /// The document is one, so that anything else lies inside.
  bool is_object() const { return depth_ != 0; }

  const PodNames& names_;
  JsonWriter json_{kIndent, kDepth};
  unsigned depth_ = 0;
  bool in_connections_ = false;
  bool peer_follows_ = false;
  const std::string* peer_ = nullptr;
};

}  // namespace

std::optional<std::string> indented_document(std::string_view text, const PodNames& names) {
  Copy copy{names};
  if (!Json::sax_parse(text.begin(), text.end(), &copy)) return std::nullopt;
  return copy.take();
}

}  // namespace shunt::command
