// cgroup v1: Documentation/admin-guide/cgroup-v1 (memory.rst, cpuacct.rst, blkio-controller.rst,
// pids.rst).
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <sstream>

#include <fmt/core.h>

#include "shim/cgroup/cgroup.h"
#include "shim/cgroup/fields.h"
#include "shim/cgroup/metrics.h"
#include "shim/proto/metrics_v1.pb.h"

namespace shunt {
namespace {

using namespace wire::cgroups1;

void read_cpu(const std::string& cpu, const std::string& cpuacct, Metrics& metrics) {
  if (!cpuacct.empty()) {
    CPUUsage& usage = *metrics.mutable_cpu()->mutable_usage();
    usage.set_total(number_of(cpuacct + "/cpuacct.usage"));
    // cpuacct.stat counts ticks of USER_HZ; the message wants nanoseconds.
    const std::string stat = text_of(cpuacct + "/cpuacct.stat");
    const auto tick = 1'000'000'000ULL / static_cast<unsigned long>(::sysconf(_SC_CLK_TCK));
    usage.set_user(stat_value(stat, "user").value_or(0) * tick);
    usage.set_kernel(stat_value(stat, "system").value_or(0) * tick);
    std::istringstream per_cpu{text_of(cpuacct + "/cpuacct.usage_percpu")};
    for (std::uint64_t value = 0; per_cpu >> value;) usage.add_per_cpu(value);
  }
  if (!cpu.empty()) {
    const std::string stat = text_of(cpu + "/cpu.stat");
    Throttle& throttling = *metrics.mutable_cpu()->mutable_throttling();
    throttling.set_periods(stat_value(stat, "nr_periods").value_or(0));
    throttling.set_throttled_periods(stat_value(stat, "nr_throttled").value_or(0));
    throttling.set_throttled_time(stat_value(stat, "throttled_time").value_or(0));
  }
}

void read_memory_entry(const std::string& prefix, MemoryEntry& entry) {
  entry.set_usage(number_of(prefix + ".usage_in_bytes"));
  entry.set_max(number_of(prefix + ".max_usage_in_bytes"));
  entry.set_failcnt(number_of(prefix + ".failcnt"));
  entry.set_limit(number_of(prefix + ".limit_in_bytes"));
}

void read_memory(const std::string& folder, Metrics& metrics) {
  MemoryStat& memory = *metrics.mutable_memory();
  const std::string stat = text_of(folder + "/memory.stat");
  using Setter = void (MemoryStat::*)(std::uint64_t);
  static constexpr std::array<std::pair<std::string_view, Setter>, 32> kFields{{
      {"cache", &MemoryStat::set_cache},
      {"rss", &MemoryStat::set_rss},
      {"rss_huge", &MemoryStat::set_rss_huge},
      {"mapped_file", &MemoryStat::set_mapped_file},
      {"dirty", &MemoryStat::set_dirty},
      {"writeback", &MemoryStat::set_writeback},
      {"pgpgin", &MemoryStat::set_pgpgin},
      {"pgpgout", &MemoryStat::set_pgpgout},
      {"pgfault", &MemoryStat::set_pgfault},
      {"pgmajfault", &MemoryStat::set_pgmajfault},
      {"inactive_anon", &MemoryStat::set_inactive_anon},
      {"active_anon", &MemoryStat::set_active_anon},
      {"inactive_file", &MemoryStat::set_inactive_file},
      {"active_file", &MemoryStat::set_active_file},
      {"unevictable", &MemoryStat::set_unevictable},
      {"hierarchical_memory_limit", &MemoryStat::set_hierarchical_memory_limit},
      {"hierarchical_memsw_limit", &MemoryStat::set_hierarchical_memsw_limit},
      {"total_cache", &MemoryStat::set_total_cache},
      {"total_rss", &MemoryStat::set_total_rss},
      {"total_rss_huge", &MemoryStat::set_total_rss_huge},
      {"total_mapped_file", &MemoryStat::set_total_mapped_file},
      {"total_dirty", &MemoryStat::set_total_dirty},
      {"total_writeback", &MemoryStat::set_total_writeback},
      {"total_pgpgin", &MemoryStat::set_total_pgpgin},
      {"total_pgpgout", &MemoryStat::set_total_pgpgout},
      {"total_pgfault", &MemoryStat::set_total_pgfault},
      {"total_pgmajfault", &MemoryStat::set_total_pgmajfault},
      {"total_inactive_anon", &MemoryStat::set_total_inactive_anon},
      {"total_active_anon", &MemoryStat::set_total_active_anon},
      {"total_inactive_file", &MemoryStat::set_total_inactive_file},
      {"total_active_file", &MemoryStat::set_total_active_file},
      {"total_unevictable", &MemoryStat::set_total_unevictable},
  }};
  for (const auto& [key, set] : kFields) (memory.*set)(stat_value(stat, key).value_or(0));
  read_memory_entry(folder + "/memory", *memory.mutable_usage());
  for (auto [name, entry] : {std::pair{"/memory.memsw", memory.mutable_swap()},
                             {"/memory.kmem", memory.mutable_kernel()},
                             {"/memory.kmem.tcp", memory.mutable_kernel_tcp()}})
    read_memory_entry(folder + name, *entry);
  const std::string oom = text_of(folder + "/memory.oom_control");
  MemoryOomControl& control = *metrics.mutable_memory_oom_control();
  control.set_oom_kill_disable(stat_value(oom, "oom_kill_disable").value_or(0));
  control.set_under_oom(stat_value(oom, "under_oom").value_or(0));
  control.set_oom_kill(stat_value(oom, "oom_kill").value_or(0));
}

// "8:0 Read 4096" per line, ended by a total without a device; or "8:0 4096".
void read_block_file(const std::string& path,
                     google::protobuf::RepeatedPtrField<BlkIOEntry>& entries) {
  std::istringstream lines{text_of(path)};
  for (std::string line; std::getline(lines, line);) {
    unsigned major = 0;
    unsigned minor = 0;
    int used = 0;
    if (std::sscanf(line.c_str(), "%u:%u %n", &major, &minor, &used) < 2) continue;
    std::istringstream rest{line.substr(static_cast<std::size_t>(used))};
    std::string word;
    BlkIOEntry entry;
    rest >> word;
    if (!word.empty() && std::isalpha(static_cast<unsigned char>(word.front())) != 0) {
      entry.set_op(word);
      rest >> word;
    }
    entry.set_major(major);
    entry.set_minor(minor);
    entry.set_value(std::strtoull(word.c_str(), nullptr, 10));
    std::error_code ignored;
    const auto device =
        std::filesystem::read_symlink(fmt::format("/sys/dev/block/{}:{}", major, minor), ignored);
    if (!device.empty()) entry.set_device("/dev/" + device.filename().string());
    entries.Add(std::move(entry));
  }
}

void read_block(const std::string& folder, Metrics& metrics) {
  BlkIOStat& block = *metrics.mutable_blkio();
  read_block_file(folder + "/blkio.throttle.io_service_bytes_recursive",
                  *block.mutable_io_service_bytes_recursive());
  read_block_file(folder + "/blkio.throttle.io_serviced_recursive",
                  *block.mutable_io_serviced_recursive());
}

void read_hugetlb(const std::string& folder, Metrics& metrics) {
  for (const std::string& size : huge_page_sizes(folder, ".usage_in_bytes")) {
    const std::string stem = fmt::format("{}/hugetlb.{}", folder, size);
    HugetlbStat& stat = *metrics.add_hugetlb();
    stat.set_pagesize(size);
    stat.set_usage(number_of(stem + ".usage_in_bytes"));
    stat.set_max(number_of(stem + ".max_usage_in_bytes"));
    stat.set_failcnt(number_of(stem + ".failcnt"));
  }
}

}  // namespace

std::string metrics_v1(const std::function<std::string(std::string_view controller)>& folder) {
  Metrics metrics;
  if (const auto pids = folder("pids"); !pids.empty()) {
    metrics.mutable_pids()->set_current(number_of(pids + "/pids.current"));
    metrics.mutable_pids()->set_limit(number_of(pids + "/pids.max"));
  }
  read_cpu(folder("cpu"), folder("cpuacct"), metrics);
  if (const auto memory = folder("memory"); !memory.empty()) read_memory(memory, metrics);
  if (const auto block = folder("blkio"); !block.empty()) read_block(block, metrics);
  if (const auto hugetlb = folder("hugetlb"); !hugetlb.empty()) read_hugetlb(hugetlb, metrics);
  return metrics.SerializeAsString();
}

}  // namespace shunt
