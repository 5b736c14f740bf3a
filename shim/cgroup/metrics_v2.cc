// cgroup v2: Documentation/admin-guide/cgroup-v2.rst.
#include <array>
#include <limits>
#include <sstream>

#include "shim/cgroup/cgroup.h"
#include "shim/cgroup/fields.h"
#include "shim/cgroup/metrics.h"
#include "shim/proto/metrics_v2.pb.h"

namespace shunt {
namespace {

using namespace wire::cgroups2;

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

void read_memory(const std::string& folder, Metrics& metrics) {
  MemoryStat& memory = *metrics.mutable_memory();
  const std::string stat = text_of(folder + "/memory.stat");
  using Setter = void (MemoryStat::*)(std::uint64_t);
  static constexpr std::array<std::pair<std::string_view, Setter>, 31> kFields{{
      {"anon", &MemoryStat::set_anon},
      {"file", &MemoryStat::set_file},
      {"kernel_stack", &MemoryStat::set_kernel_stack},
      {"slab", &MemoryStat::set_slab},
      {"sock", &MemoryStat::set_sock},
      {"shmem", &MemoryStat::set_shmem},
      {"file_mapped", &MemoryStat::set_file_mapped},
      {"file_dirty", &MemoryStat::set_file_dirty},
      {"file_writeback", &MemoryStat::set_file_writeback},
      {"anon_thp", &MemoryStat::set_anon_thp},
      {"inactive_anon", &MemoryStat::set_inactive_anon},
      {"active_anon", &MemoryStat::set_active_anon},
      {"inactive_file", &MemoryStat::set_inactive_file},
      {"active_file", &MemoryStat::set_active_file},
      {"unevictable", &MemoryStat::set_unevictable},
      {"slab_reclaimable", &MemoryStat::set_slab_reclaimable},
      {"slab_unreclaimable", &MemoryStat::set_slab_unreclaimable},
      {"pgfault", &MemoryStat::set_pgfault},
      {"pgmajfault", &MemoryStat::set_pgmajfault},
      {"workingset_refault", &MemoryStat::set_workingset_refault},
      {"workingset_activate", &MemoryStat::set_workingset_activate},
      {"workingset_nodereclaim", &MemoryStat::set_workingset_nodereclaim},
      {"pgrefill", &MemoryStat::set_pgrefill},
      {"pgscan", &MemoryStat::set_pgscan},
      {"pgsteal", &MemoryStat::set_pgsteal},
      {"pgactivate", &MemoryStat::set_pgactivate},
      {"pgdeactivate", &MemoryStat::set_pgdeactivate},
      {"pglazyfree", &MemoryStat::set_pglazyfree},
      {"pglazyfreed", &MemoryStat::set_pglazyfreed},
      {"thp_fault_alloc", &MemoryStat::set_thp_fault_alloc},
      {"thp_collapse_alloc", &MemoryStat::set_thp_collapse_alloc},
  }};
  for (const auto& [key, set] : kFields) (memory.*set)(stat_value(stat, key).value_or(0));
  memory.set_usage(number_of(folder + "/memory.current"));
  memory.set_usage_limit(number_of(folder + "/memory.max", kUnlimited));
  memory.set_swap_usage(number_of(folder + "/memory.swap.current"));
  memory.set_swap_limit(number_of(folder + "/memory.swap.max", kUnlimited));
  const std::string events = text_of(folder + "/memory.events");
  MemoryEvents& counts = *metrics.mutable_memory_events();
  counts.set_low(stat_value(events, "low").value_or(0));
  counts.set_high(stat_value(events, "high").value_or(0));
  counts.set_max(stat_value(events, "max").value_or(0));
  counts.set_oom(stat_value(events, "oom").value_or(0));
  counts.set_oom_kill(stat_value(events, "oom_kill").value_or(0));
}

void read_cpu(const std::string& folder, Metrics& metrics) {
  const std::string stat = text_of(folder + "/cpu.stat");
  CPUStat& cpu = *metrics.mutable_cpu();
  cpu.set_usage_usec(stat_value(stat, "usage_usec").value_or(0));
  cpu.set_user_usec(stat_value(stat, "user_usec").value_or(0));
  cpu.set_system_usec(stat_value(stat, "system_usec").value_or(0));
  cpu.set_nr_periods(stat_value(stat, "nr_periods").value_or(0));
  cpu.set_nr_throttled(stat_value(stat, "nr_throttled").value_or(0));
  cpu.set_throttled_usec(stat_value(stat, "throttled_usec").value_or(0));
}

// "rxe0 hca_handle=2 hca_object=max"; one line a device.
void read_rdma(const std::string& file, google::protobuf::RepeatedPtrField<RdmaEntry>& entries) {
  std::istringstream lines{text_of(file)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words{line};
    RdmaEntry& entry = *entries.Add();
    std::string word;
    if (words >> word) entry.set_device(word);
    while (words >> word) {
      const auto equals = word.find('=');
      if (equals == std::string::npos) continue;
      const std::string value = word.substr(equals + 1);
      const auto number =
          value == "max" ? std::numeric_limits<std::uint32_t>::max()
                         : static_cast<std::uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
      if (word.starts_with("hca_handle=")) entry.set_hca_handles(number);
      if (word.starts_with("hca_object=")) entry.set_hca_objects(number);
    }
  }
}

// io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6"
void read_io(const std::string& folder, Metrics& metrics) {
  IOStat& io = *metrics.mutable_io();
  std::istringstream lines{text_of(folder + "/io.stat")};
  for (std::string line; std::getline(lines, line);) {
    unsigned major = 0;
    unsigned minor = 0;
    if (std::sscanf(line.c_str(), "%u:%u", &major, &minor) != 2) continue;
    IOEntry& entry = *io.add_usage();
    entry.set_major(major);
    entry.set_minor(minor);
    const auto value = [&](const char* key) -> std::uint64_t {
      const auto at = line.find(std::string{" "} + key + "=");
      return at == std::string::npos
                 ? 0
                 : std::strtoull(line.c_str() + at + std::char_traits<char>::length(key) + 2,
                                 nullptr, 10);
    };
    entry.set_rbytes(value("rbytes"));
    entry.set_wbytes(value("wbytes"));
    entry.set_rios(value("rios"));
    entry.set_wios(value("wios"));
  }
}

void read_hugetlb(const std::string& folder, Metrics& metrics) {
  for (const std::string& size : huge_page_sizes(folder, ".current")) {
    const std::string stem = (folder + "/hugetlb.").append(size);
    HugeTlbStat& stat = *metrics.add_hugetlb();
    stat.set_pagesize(size);
    stat.set_current(number_of(stem + ".current"));
    stat.set_max(number_of(stem + ".max", kUnlimited));
  }
}

}  // namespace

std::string metrics_v2(const std::string& folder) {
  Metrics metrics;
  metrics.mutable_pids()->set_current(number_of(folder + "/pids.current"));
  metrics.mutable_pids()->set_limit(number_of(folder + "/pids.max", kUnlimited));
  read_cpu(folder, metrics);
  read_memory(folder, metrics);
  read_rdma(folder + "/rdma.current", *metrics.mutable_rdma()->mutable_current());
  read_rdma(folder + "/rdma.max", *metrics.mutable_rdma()->mutable_limit());
  read_io(folder, metrics);
  read_hugetlb(folder, metrics);
  return metrics.SerializeAsString();
}

}  // namespace shunt
