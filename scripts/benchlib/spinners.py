"""A process per CPU that spins at the lowest priority there is.

A virtual CPU that goes idle halts, and waking it goes through the hypervisor: tens of microseconds
that have nothing to do with the programs measured. A SCHED_IDLE process keeps it awake and yields at
once to anything else.
"""

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1


class Spinners:
    """A context manager; the spinners also end when this process dies in any other way."""

    def __enter__(self):
        self._processes = []
        try:
            for cpu in sorted(os.sched_getaffinity(0)):
                argv = [sys.executable, "-ISE", os.path.realpath(__file__), str(cpu),
                        str(os.getpid())]
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


def spin(cpu, parent):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # died before the line above
        return
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass


if __name__ == "__main__":
    spin(int(sys.argv[1]), int(sys.argv[2]))
