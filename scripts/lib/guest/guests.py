"""Booting guests and running programs in them; the host's side of agent.py."""

import collections
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
import time

from .. import paths
from . import frames
from .kernel import kernel

BOOT_TIMEOUT = 180  # seconds; a boot takes less than ten if nothing else runs
_CONSOLE_KEPT = 1 << 20
_HERE = os.path.dirname(os.path.realpath(__file__))
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

Result = collections.namedtuple("Result", "args returncode stdout stderr")


class GuestError(Exception):
    """A guest did not boot, died, or did not answer in time; one sentence says which."""


class Failed(Exception):
    """A command in a guest ended with another exit status than 0; `result` has what it wrote."""

    def __init__(self, result):
        self.result = result
        super().__init__(f"{' '.join(result.args)}: exit status {result.returncode}\n"
                         f"{result.stdout}{result.stderr}")


def _received(connection):
    """What arrives, until the other side is gone."""
    while True:
        try:
            data = connection.recv(65536)
        except ConnectionResetError:
            return
        if not data:
            return
        yield data


class Process:
    """A program in a guest. `stdout` and `stderr` grow while it runs unless `sink` takes the bytes:
    sink(1 or 2, data), called by another thread. `done`, if given, is called with the process when
    it has ended, or when its guest has: `returncode` is then None."""

    def __init__(self, guest, number, argv, sink=None, done=None):
        self.guest = guest
        self._number = number
        self._sink = sink
        self._done = done
        self._output = {1: bytearray(), 2: bytearray()}
        self._changed = threading.Condition()
        self.args = argv
        self.returncode = None

    @property
    def stdout(self):
        return self._output[1].decode(errors="replace")

    @property
    def stderr(self):
        return self._output[2].decode(errors="replace")

    def take(self, stream, data):
        if self._sink:
            self._sink(stream, data)
            return
        with self._changed:
            self._output[stream] += data
            self._changed.notify_all()

    def end(self, status):
        with self._changed:
            if self.returncode is not None:
                return
            self.returncode = status
            self._changed.notify_all()
        if self._done:
            self._done(self)

    def write(self, data):
        """Bytes for its standard input. It must read them: what does not fit into a pipe stops the
        guest's first process until it does."""
        self.guest.send(frames.INPUT, self._number, data)

    def close_input(self):
        self.guest.send(frames.INPUT, self._number)

    def kill(self, number=signal.SIGTERM):
        """Sends a signal to the process and to what it started in its session."""
        self.guest.send(frames.SIGNAL, self._number, str(int(number)).encode())

    def wait(self, timeout=60):
        """The exit status: a signal's number with a minus if one ended it."""
        self._await(lambda: self.returncode is not None, timeout, "end")
        return self.returncode

    def wait_output(self, text, timeout=60):
        """Waits until the standard output has the text."""
        self._await(lambda: text in self.stdout or self.returncode is not None, timeout,
                    f"{text!r}")
        if text not in self.stdout:
            raise GuestError(f"{' '.join(self.args)} ended with {self.returncode} before it wrote "
                             f"{text!r}: {self.stdout}{self.stderr}")

    def _await(self, predicate, timeout, what):
        deadline = time.monotonic() + timeout
        with self._changed:
            while not predicate():
                if self.guest.dead:
                    raise GuestError(self.guest.obituary())
                left = deadline - time.monotonic()
                if left <= 0:
                    raise GuestError(f"{self.guest.name}: no {what} of {' '.join(self.args)} "
                                     f"within {timeout:g} s")
                self._changed.wait(min(left, 1))


class Guest:
    """One machine; made by Guests. Attributes: name ("guest1"), address (of its eth0), addresses."""

    def __init__(self, name, addresses):
        self.name = name
        self.addresses = addresses
        self.address = addresses[0]
        self.dead = False
        self._processes = {}
        self._last = 0
        self._console = bytearray()
        self._up = threading.Event()
        self._lock = threading.Lock()

    def boot(self, argv, passed):
        """Starts QEMU with one end of two socket pairs, for the agent and for the console; `passed`
        are further descriptors, named in argv."""
        self._port, port = socket.socketpair()
        self._tty, tty = socket.socketpair()
        parent = os.getpid()

        def die_with_parent():
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        with port, tty:
            argv = [*argv, "-chardev", f"socket,id=agent,fd={port.fileno()}",
                    "-device", "virtserialport,chardev=agent,name=agent",
                    "-chardev", f"socket,id=console,fd={tty.fileno()}", "-serial", "chardev:console"]
            # A group of its own: Ctrl-C is for us, who end it when everything is read.
            self._qemu = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, pass_fds=[port.fileno(), tty.fileno(), *passed],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=die_with_parent,
                process_group=0)
        self._threads = [threading.Thread(target=target, daemon=True)
                         for target in (self._read, self._read_console)]
        for thread in self._threads:
            thread.start()

    def wait_up(self, timeout):
        if not self._up.wait(timeout):
            raise GuestError(
                f"{self.name} did not come up within {timeout:g} s; {self._last_words()}")
        if self.dead:
            raise GuestError(self.obituary())

    def stop(self):
        self._qemu.kill()
        self._qemu.wait()
        for thread in self._threads:
            thread.join()
        for file in (self._qemu.stderr, self._port, self._tty):
            file.close()

    def _read(self):
        reader = frames.Reader()
        for data in _received(self._port):
            for kind, number, payload in reader.feed(data):
                if kind == frames.READY:
                    self._up.set()
                    continue
                process = self._processes[number]
                if kind == frames.EXIT:
                    process.end(int(payload))
                else:
                    process.take(1 if kind == frames.OUT else 2, payload)
        self.dead = True
        self._up.set()
        for process in list(self._processes.values()):
            process.end(None)

    def _read_console(self):
        for data in _received(self._tty):
            self._console += data
            del self._console[:-_CONSOLE_KEPT]

    def obituary(self):
        self._qemu.wait()
        words = self._qemu.stderr.read().decode(errors="replace").strip()
        return f"{self.name} ended before its command did; {words or self._last_words()}"

    def console(self):
        """What the guest's kernel and first process wrote to the console."""
        return self._console.decode(errors="replace").replace("\r", "")

    def _last_words(self):
        lines = [line.strip() for line in self.console().splitlines() if line.strip()]
        return f"its console ends with: {lines[-1]}" if lines else "its console is empty"

    def send(self, kind, number, data=b""):
        with self._lock, contextlib.suppress(OSError):  # a dead guest is noticed by who waits
            frames.write(self._port.fileno(), kind, number, data)

    def start(self, *argv, env=None, cwd="/", sink=None, done=None):
        """Starts a program; returns a Process. `env` is added to a plain environment."""
        argv = [str(word) for word in argv]
        environment = {"PATH": paths.SYSTEM_PATH, "HOME": "/root", "TERM": "dumb", **(env or {})}
        self._last += 1
        process = self._processes[self._last] = Process(
            self, self._last, argv, sink, done)
        order = {"argv": argv, "env": environment, "cwd": cwd}
        self.send(frames.RUN, self._last, json.dumps(order).encode())
        return process

    def run(self, *argv, check=True, timeout=60, **kwargs):
        """Runs a program to its end; returns a Result with stdout and stderr as text."""
        process = self.start(*argv, **kwargs)
        process.close_input()
        process.wait(timeout)
        result = Result(process.args, process.returncode, process.stdout, process.stderr)
        if check and result.returncode != 0:
            raise Failed(result)
        return result


class Guests:
    """A context manager that gives a list of booted guests.

    count       1 or 2.
    memory_mib  of each.
    cpus        of each; by default those of this machine are divided among them.
    cgroup      2: one hierarchy; 1: a hierarchy per controller.
    out         a directory of this machine that the guests have as /out and may write to.
    show        directories that are to be seen in the guests even if below /tmp or /run, which are
                the guests' own; the source, the build and the cache are anyway.
    """

    def __init__(self, count=1, memory_mib=2048, cpus=None, cgroup=2, out=None, show=(),
                 boot_timeout=BOOT_TIMEOUT):
        if count not in (1, 2):
            raise ValueError("one guest or two")
        self._count = count
        self._memory = memory_mib
        self._cpus = cpus or max(1, (os.cpu_count() or 1) // count)
        self._cgroup = cgroup
        self._out = out
        self._show = [paths.ROOT, paths.build_dir(), paths.cache_dir(), *show]
        self._boot_timeout = boot_timeout

    def __enter__(self):
        made = kernel()
        self._booted = []
        wires = socket.socketpair() if self._count == 2 else ()
        try:
            for number in range(1, self._count + 1):
                if wires:
                    wire, addresses = wires[number - 1].fileno(), [f"192.0.2.{number}"]
                else:
                    wire, addresses = None, ["192.0.2.1", "192.0.2.2"]
                guest = Guest(f"guest{number}", addresses)
                guest.boot(self._argv(made, guest, number, wire), () if wire is None else (wire,))
                self._booted.append(guest)
            for guest in self._booted:
                guest.wait_up(self._boot_timeout)
        except BaseException:
            self.__exit__()
            raise
        finally:
            for wire in wires:
                wire.close()
        return self._booted

    def __exit__(self, *_):
        for guest in self._booted:
            guest.stop()

    def _argv(self, made, guest, number, wire):
        words = {
            "agent": os.path.join(_HERE, "agent.py"), "modules": made.modules,
            "keep": ":".join(self._below_tmp()), "addresses": ",".join(guest.addresses),
            "device": "dummy" if wire is None else "virtio", "cgroup": self._cgroup,
            "out": 1 if self._out else 0, "name": guest.name,
        }
        line = "console=ttyS0 loglevel=4 panic=-1 nokaslr mitigations=off "
        line += " ".join(f"shunt.{key}={value}" for key, value in words.items())
        argv = [
            paths.tool("qemu-system-x86_64"), "-nodefaults", "-no-user-config", "-no-reboot",
            "-display", "none", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
            "-smp", str(self._cpus), "-m", str(self._memory),
            "-kernel", made.image, "-initrd", made.initramfs, "-append", line,
            "-device", "virtio-serial-pci", "-device", "virtio-rng-pci",
            # Read-only for the guest, whatever it tries.
            "-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,"
                       "multidevs=remap",
        ]
        if self._out:
            argv += ["-virtfs", f"local,path={os.path.realpath(self._out)},mount_tag=out,"
                                "security_model=none,multidevs=remap"]
        if wire is not None:
            # 9000: the largest packet of RoCE has 4096 bytes of data.
            argv += ["-netdev", f"socket,id=wire,fd={wire}", "-device",
                     f"virtio-net-pci,netdev=wire,mac=52:54:00:00:02:0{number},host_mtu=9000,romfile="]
        return argv

    def _below_tmp(self):
        return sorted({path for path in map(os.path.realpath, self._show)
                       if path.startswith(("/tmp/", "/run/")) and os.path.isdir(path)})
