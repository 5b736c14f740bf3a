"""A process per CPU that spins at the lowest priority there is.

A virtual CPU that goes idle halts, and waking it goes through the hypervisor: tens of microseconds
that have nothing to do with the programs measured. A SCHED_IDLE process keeps it awake and yields at
once to anything else.

The policy alone is not enough: between control groups, and between the kernel's autogroups, which
every session is, the scheduler compares groups. A spinner in an ordinary one would get that group's
full share of the CPU. So the spinners are in a control group that is idle itself (cpu.idle).
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1
GROUP = "shunt-spinners"  # shared by all who spin; stays where somebody was killed, empty


class Spinners:
    """A context manager; the spinners also end when this process dies in any other way."""

    def __enter__(self):
        self._processes = []
        self._group = _idle_group()
        try:
            for cpu in sorted(os.sched_getaffinity(0)):
                argv = [sys.executable, "-ISE", os.path.realpath(__file__), str(cpu),
                        str(os.getpid()), self._group or ""]
                self._processes.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        if self._group:
            with contextlib.suppress(OSError):
                os.rmdir(self._group)


def _idle_group():
    """The directory of an idle control group, or None where there is no cpu controller."""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _, at, kind, options, *_ = line.split()
            if kind == "cgroup" and "cpu" not in options.split(",") or not kind.startswith("cgroup"):
                continue
            group = os.path.join(at, GROUP)
            with contextlib.suppress(OSError):
                os.makedirs(group, exist_ok=True)
                with open(os.path.join(group, "cpu.idle"), "w", encoding="ascii") as idle:
                    idle.write("1")
                return group
            with contextlib.suppress(OSError):
                os.rmdir(group)
    return None


def spin(cpu, parent, group):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # died before the line above
        return
    if group:
        with open(os.path.join(group, "cgroup.procs"), "w", encoding="ascii") as procs:
            procs.write("0")
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass


if __name__ == "__main__":
    spin(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
