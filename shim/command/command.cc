#include "shim/command/command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "shim/command/check.h"
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

int main(int argc, char** argv) {
  CLI::App app{"Looks at Shunt, the containerd runtime io.containerd.shunt.v2, on this node.",
               "shunt"};
  app.set_version_flag("--version", std::string{"shunt "} + SHUNT_VERSION);
  app.require_subcommand(1);

  std::string config_path;
  std::string output = "table";
  const auto add_output = [&](CLI::App* command) {
    command->add_option("-o,--output", output, "table for people, json for programs")
        ->check(CLI::IsMember({"table", "json"}));
    command->add_option("--config", config_path,
                        "Shunt's configuration file (default: /etc/shunt/config.yaml)");
  };
  CLI::App* check = app.add_subcommand("check", "Is this host fit? Exit code 0: yes, 1: no");
  add_output(check);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  return run_check(config_path, output == "json");
}

}  // namespace shunt::command
