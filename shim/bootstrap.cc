#include "shim/bootstrap.h"

#include "shim/proto/options.pb.h"

namespace shunt {

Bootstrap read_bootstrap(const CommandLine& line, const std::string& input) {
  Bootstrap request;
  request.debug = line.debug;
  if (wire::BootstrapParams params;
      params.ParseFromString(input) && !params.instance_id().empty() &&
      params.instance_id() == line.id && params.namespace_() == line.containerd_namespace) {
    request.wants_protobuf = true;
    request.socket_dir = params.socket_dir();
    request.debug |= params.log_level() < 0;
    for (const auto& extension : params.extensions()) {
      const std::string& type = extension.value().type_url();
      if (type.find("Options") == std::string::npos) continue;
      request.options_type = type;
      request.options_value = extension.value().value();
    }
    return request;
  }
  if (wire::Any options; options.ParseFromString(input)) {
    request.options_type = options.type_url();
    request.options_value = options.value();
  }
  return request;
}

std::string write_bootstrap(const Bootstrap& request, const std::string& address) {
  if (!request.wants_protobuf) return address;
  wire::BootstrapResult result;
  result.set_version(2);
  result.set_address(address);
  result.set_protocol("ttrpc");
  return result.SerializeAsString();
}

}  // namespace shunt
