"""Readers of /proc: who is whose child, and what a process costs."""

import os


def read(path):
    """The text of a file of /proc, or "" if its process is gone."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def status(pid):
    """/proc/PID/status as a dict of strings; empty if the process is gone."""
    lines = (line.partition(":") for line in read(f"/proc/{pid}/status").splitlines())
    return {key: value.strip() for key, _, value in lines}


def alive(pid):
    """Whether the process runs; a zombie does not."""
    return status(pid).get("State", "Z")[0] not in "ZX"


def cmdline(pid):
    return read(f"/proc/{pid}/cmdline").split("\0")[:-1]


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def parents():
    """{pid: parent} of every process."""
    result = {}
    for pid in pids():
        stat = read(f"/proc/{pid}/stat")
        if stat:
            result[pid] = int(stat.rpartition(")")[2].split()[1])
    return result


def descendants(pid):
    """Every process below `pid`, nearest first."""
    children = {}
    for child, parent in parents().items():
        children.setdefault(parent, []).append(child)
    result, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(0), [])
        result += below
        todo += below
    return result


def memory(pid):
    """{"rss", "pss", "private", "anonymous"} in KiB, from smaps_rollup. "private" has the pages of
    the program file too while nobody else runs it; "anonymous" is what the process wrote."""
    fields = {}
    for line in read(f"/proc/{pid}/smaps_rollup").splitlines()[1:]:
        key, _, value = line.partition(":")
        fields[key] = int(value.split()[0])
    return {
        "rss": fields.get("Rss", 0),
        "pss": fields.get("Pss", 0),
        "private": fields.get("Private_Clean", 0) + fields.get("Private_Dirty", 0),
        "anonymous": fields.get("Anonymous", 0),
    }


def threads(pid):
    return int(status(pid).get("Threads", 0))


def descriptors(pid):
    """{number: target} of the open descriptors."""
    result = {}
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                result[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                pass
    except OSError:
        pass
    return result


def mounts(pid):
    """Mount points that `pid` sees."""
    return [line.split()[4] for line in read(f"/proc/{pid}/mountinfo").splitlines()]


def cpu_seconds(pid):
    """User plus system time of the process so far."""
    stat = read(f"/proc/{pid}/stat")
    if not stat:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
