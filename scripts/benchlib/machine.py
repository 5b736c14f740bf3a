"""What the figures were measured on."""

import os
import platform
import subprocess

from lib import paths


def _first(path, key):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == key:
                    return value.strip()
    except OSError:
        pass
    return "unknown"


def _version(*argv):
    try:
        result = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "not found"
    lines = result.stdout.splitlines()
    return lines[0].strip() if lines else "unknown"


def _containerd():
    # "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1"
    words = _version("containerd", "--version").split()
    return words[2] if len(words) > 2 else " ".join(words)


def _runc():
    return _version("runc", "--version").removeprefix("runc version ").strip()


def _shim(path):
    """Whether the shim is there, and in which build."""
    if not os.path.exists(path):
        return f"not built ({path})"
    return os.path.relpath(os.path.realpath(path), os.getcwd())


def _source():
    """The commit that is checked out, which is what was built if the tree is clean."""
    git = ["git", "-C", paths.ROOT, "describe", "--always", "--dirty"]
    return _version(*git)


def describe(shim_path):
    """A dict of strings and numbers, in the order in which it is printed."""
    memory = _first("/proc/meminfo", "MemTotal").removesuffix(" kB")
    hybrid = os.path.isdir("/sys/fs/cgroup/cpuacct")
    return {
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory) / 2**20, 1) if memory.isdigit() else memory,
        "virtual": "hypervisor" in _first("/proc/cpuinfo", "flags").split(),
        "kernel": platform.release(),
        "cgroups": "v1" if hybrid else "v2",
        "containerd": _containerd(),
        "runc": _runc(),
        "shim": _shim(shim_path),
        "source": _source(),
        "load": os.getloadavg()[0],
    }
