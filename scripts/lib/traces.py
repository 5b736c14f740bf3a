"""What containers and shims leave on a node while they live."""

import os

from . import proc

CGROUPS = "/sys/fs/cgroup"


def of(node):
    """{kind: [...]} for processes, mounts, cgroups, sockets, bundles, the OCI runtime's state and
    Shunt's files."""
    tasks = os.path.join(node.dir, "state", "io.containerd.runtime.v2.task")
    shunt = os.path.join(node.dir, "shunt")
    of_the_node = {os.path.join(shunt, name) for name in ("node", "looks")}  # they stay
    run = f"/proc/{node.pid}/root/run"  # the node's own
    return {
        "processes": processes(node),
        "mounts": [path for path in proc.mounts(node.pid)
                   if path.startswith((tasks, shunt, "/run/netns/"))],
        "cgroups": cgroups(node.name),
        "sockets": _names(f"{run}/containerd/s"),
        "bundles": _two_levels(tasks),
        "runc": _two_levels(f"{run}/containerd/runc"),
        "shunt": [os.path.relpath(os.path.join(folder, name), node.dir)
                  for folder, _, names in os.walk(shunt) for name in names
                  if os.path.join(folder, name) not in of_the_node],
    }


def processes(node):
    """Everything below the node's keeper but containerd, as "PID command"."""
    found = []
    for pid in proc.descendants(node.pid):
        argv = proc.cmdline(pid)
        daemon = pid == node.containerd_pid or (argv and os.path.basename(argv[0]) == "containerd")
        if not daemon and proc.alive(pid):
            found.append(f"{pid} {' '.join(argv) or proc.status(pid).get('Name')}")
    return found


def cgroups(name):
    """Directories of the containers' cgroups, in every hierarchy."""
    hierarchies = [CGROUPS, *(entry.path for entry in os.scandir(CGROUPS) if entry.is_dir())]
    return [os.path.join(folder, name_below)
            for hierarchy in hierarchies
            for folder, below, _ in os.walk(os.path.join(hierarchy, name))
            for name_below in below]


def _names(folder):
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _two_levels(folder):
    return [os.path.join(one, two) for one in _names(folder) for two in _names(f"{folder}/{one}")]
