"""What an operation costs in CPU time, container and shim together; pinning and preferring."""

import contextlib
import os
import time

CGROUPS = "/sys/fs/cgroup"


def _usage_file(name):
    """Where the kernel counts the CPU time of a cgroup and all below it: v1's cpuacct, else v2."""
    if os.path.isdir(f"{CGROUPS}/cpuacct"):
        return f"{CGROUPS}/cpuacct/{name}/cpuacct.usage"
    return f"{CGROUPS}/{name}/cpu.stat"


def cgroup_seconds(name):
    """CPU seconds of the cgroup `name` and all that ever were below it; 0 before it exists."""
    path = _usage_file(name)
    try:
        with open(path, encoding="ascii") as file:
            text = file.read()
    except FileNotFoundError:
        return 0.0
    if path.endswith("cpuacct.usage"):
        return int(text) / 1e9
    fields = dict(line.split() for line in text.splitlines())
    return int(fields["usage_usec"]) / 1e6


def process_seconds(pid):
    """CPU seconds of all threads a process has and had, to the nanosecond: its CPU-time clock
    (clock_getcpuclockid(3)), whose id the kernel derives from the pid."""
    return time.clock_gettime((~pid << 3) | 2)


class NodeCpu:
    """CPU seconds of everything that runs for a Node except containerd itself: shims, the OCI
    runtime, and containers, in cgroups below the node's own, also after they have ended.

    containerd is put into one of them, and what it starts (shims) is born there. containerd's own
    time is subtracted: it is the same program for every variant.
    """

    def __init__(self, node):
        self._node = node
        folder = os.path.join(os.path.dirname(_usage_file(node.name)), "containerd")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write(str(node.containerd_pid))

    def seconds(self):
        return cgroup_seconds(self._node.name) - process_seconds(self._node.containerd_pid)

    def charge(self, function, times):
        """Calls `function` so many times; returns what each call returned and the CPU seconds per
        call."""
        before = self.seconds()
        results = [function() for _ in range(times)]
        return results, (self.seconds() - before) / times


def pin(pids, cpus):
    """Moves all threads of the processes to the CPUs; their future children inherit them."""
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                os.sched_setaffinity(int(thread), cpus)
            except ProcessLookupError:
                pass


def _weigh(name):
    """Gives the cgroup the greatest weight there is, against those beside it."""
    v1 = f"{CGROUPS}/cpu/{name}/cpu.shares"
    path, most = (v1, 262144) if os.path.exists(v1) else (f"{CGROUPS}/{name}/cpu.weight", 10000)
    with contextlib.suppress(OSError), open(path, "w", encoding="ascii") as file:
        file.write(str(most))


@contextlib.contextmanager
def prefer(groups, pids):
    """The cgroups, and these processes, which are in others, come before whatever else the machine
    runs; the processes only where cgroups are v1. Where the cpu controller cannot be had nothing is
    done."""
    for name in groups:
        _weigh(name)
    root = f"{CGROUPS}/cpu"
    if not os.path.isdir(root):
        yield
        return
    folder = os.path.join(root, f"shunt-bench-{os.getpid()}")
    os.mkdir(folder)
    try:
        _weigh(os.path.basename(folder))
        _move(pids, folder)
        yield
    finally:
        _move(pids, root)
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _move(pids, folder):
    for pid in pids:
        with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs", "w",
                                                encoding="ascii") as procs:
            procs.write(str(pid))
