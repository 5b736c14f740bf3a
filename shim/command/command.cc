#include "shim/command/command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "config/load.h"
#include "shim/command/check.h"
#include "shim/command/inspect.h"
#include "shim/command/table.h"

namespace shunt::command {
namespace {

const char* word(Fitness fitness) {
  switch (fitness) {
    case Fitness::kOk:
      return "ok";
    case Fitness::kDegraded:
      return "degraded";
    case Fitness::kMissing:
      return "missing";
  }
  return "?";
}

int run_check(const std::string& config_path, bool json) {
  std::vector<Finding> findings = check_kernel();
  for (auto& finding : check_programs(config_path)) findings.push_back(std::move(finding));
  for (auto& finding : check_fabrics(config_path)) findings.push_back(std::move(finding));
  bool fit = true;
  bool whole = true;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  Table table{{"CHECK", "STATUS", "FOUND", "EFFECT"}};
  for (const Finding& finding : findings) {
    fit &= finding.fitness != Fitness::kMissing;
    whole &= finding.fitness == Fitness::kOk;
    list.push_back({{"check", finding.subject},
                    {"status", word(finding.fitness)},
                    {"found", finding.found},
                    {"effect", finding.effect}});
    table.add({finding.subject, word(finding.fitness), finding.found, finding.effect});
  }
  if (json) {
    std::printf("%s\n", nlohmann::ordered_json{{"fit", fit}, {"checks", list}}.dump(2).c_str());
  } else {
    std::printf("%s\n%s\n", table.text().c_str(),
                !fit    ? "This host is not fit for Shunt: see what is missing."
                : whole ? "This host is fit for Shunt."
                        : "This host is fit for Shunt, with the effects listed.");
  }
  return fit ? 0 : 1;
}

}  // namespace

int run(int argc, char** argv) {
  CLI::App app{"Looks at Shunt, the containerd runtime io.containerd.shunt.v2, on this node.",
               "shunt"};
  app.set_version_flag("--version", std::string{"shunt "} + SHUNT_VERSION);
  app.require_subcommand(1);

  std::string config_path;
  std::string output = "table";
  const auto add_output = [&](CLI::App* command) {
    command->add_option("-o,--output", output, "table (default), for people, or json, for programs")
        ->check(CLI::IsMember({"table", "json"}));
    command->add_option("--config", config_path,
                        "Shunt's configuration file (default: /etc/shunt/config.yaml)");
  };
  CLI::App* check = app.add_subcommand("check", "Is this host fit? Exit code 0: yes, 1: no");
  add_output(check);

  InspectOptions options;
  CLI::App* look =
      app.add_subcommand("inspect", "What Shunt did for the pods of this node, or for one");
  look->add_option(
      "name", options.name,
      "a pod or container: its id or the beginning of it, its name, or namespace/name");
  look->add_option("--state", options.state, "Shunt's state directory (default: as configured)");
  look->add_flag("-w,--watch", options.watch, "again every second");
  add_output(look);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  if (check->parsed()) return run_check(config_path, output == "json");
  options.json = output == "json";
  if (options.state.empty()) {
    const auto config =
        config_path.empty() ? config::load_default() : config::load_file(config_path);
    if (!config) {
      std::fprintf(stderr, "shunt: %s\n", config.error().c_str());
      return 1;
    }
    options.state = config->state;
  }
  return inspect(options);
}

}  // namespace shunt::command
