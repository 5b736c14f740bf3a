#!/usr/bin/python3
"""First process of a guest after init.sh: sets it up, then runs what the host asks for (frames.py).

The kernel's command line says shunt.addresses=A,B (of eth0), shunt.device=dummy|virtio (what eth0 is),
shunt.cgroup=1|2, shunt.out=0|1 (a directory of the host at /out), shunt.name=NAME (of the machine).
"""

import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import frames  # noqa: E402

_V1 = ("cpu,cpuacct", "cpuset", "memory", "devices", "freezer", "pids", "blkio", "net_cls,net_prio",
       "perf_event", "hugetlb")


def run(*argv):
    subprocess.run(argv, check=True)


def mount(kind, source, target, options=""):
    os.makedirs(target, exist_ok=True)
    run("mount", "-t", kind, *(["-o", options] if options else []), source, target)


def mount_cgroups(version):
    if version == "2":
        mount("cgroup2", "cgroup2", "/sys/fs/cgroup")
        return
    mount("tmpfs", "cgroup", "/sys/fs/cgroup", "mode=755")
    for controllers in _V1:
        mount("cgroup", "cgroup", f"/sys/fs/cgroup/{controllers}", controllers)
        for name in controllers.split(","):
            if name != controllers:
                os.symlink(controllers, f"/sys/fs/cgroup/{name}")
    mount("cgroup2", "cgroup2", "/sys/fs/cgroup/unified")


def set_up(options):
    # As systemd would: the kernel's own limit for the first process is 4096.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1 << 19))
    socket.sethostname(options["name"])
    # Crypto algorithms are not loaded on demand here: without crc32 "rdma link add" says ENOENT.
    run("modprobe", "-a", "virtio_net", "crc32_generic", "rdma_rxe", "rdma_ucm", "ib_umad",
        "virtio_rng")
    mount_cgroups(options["cgroup"])
    if options["out"] == "1":
        mount("9p", "out", "/out", "trans=virtio,version=9p2000.L,msize=512000")
    run("ip", "link", "set", "lo", "up")
    if options["device"] == "dummy":
        run("ip", "link", "add", "eth0", "mtu", "9000", "type", "dummy")
    for address in options["addresses"].split(","):
        run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    run("rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "eth0")
    run("sysctl", "-qw", "net.ipv4.ip_forward=1", "fs.inotify.max_user_instances=8192")


def port():
    """The virtio-serial port to the host, by its name: there is no udev to make links."""
    for name in os.listdir("/sys/class/virtio-ports"):
        with open(f"/sys/class/virtio-ports/{name}/name", encoding="ascii") as file:
            if file.read().strip() == "agent":
                return os.open(f"/dev/{name}", os.O_RDWR | os.O_CLOEXEC)
    raise FileNotFoundError("virtio-serial port 'agent'")


class Agent:
    def __init__(self):
        self._port = port()
        self._selector = selectors.DefaultSelector()
        self._processes = {}  # number -> Popen
        self._open = {}  # number -> how many of its outputs are
        self._statuses = {}  # pid -> exit status of what ended

    def serve(self):
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._selector.register(self._port, selectors.EVENT_READ, None)
        self._selector.register(wake, selectors.EVENT_READ, "children")
        reader = frames.Reader()
        frames.write(self._port, frames.READY, 0)
        while True:
            for key, _ in self._selector.select():
                if key.data == "children":
                    os.read(wake, 4096)
                elif key.data is None:
                    for frame in reader.feed(os.read(self._port, frames.CHUNK)):
                        self._obey(*frame)
                else:
                    self._forward(key.fd, *key.data)
            self._reap()

    def _obey(self, kind, number, data):
        if kind == frames.RUN:
            self._start(number, json.loads(data))
        elif number not in self._processes:  # it has ended meanwhile
            return
        elif kind == frames.SIGNAL:
            os.killpg(self._processes[number].pid, int(data))
        elif kind == frames.INPUT:
            self._input(self._processes[number].stdin, data)

    def _input(self, pipe, data):
        try:
            if data:
                pipe.write(data)
            else:
                pipe.close()
        except (BrokenPipeError, ValueError):
            pass  # it does not read any more

    def _start(self, number, order):
        try:
            process = subprocess.Popen(
                order["argv"], env=order["env"], cwd=order["cwd"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, start_new_session=True)
        except OSError as error:
            text = f"{order['argv'][0]}: {error.strerror}\n"
            frames.write(self._port, frames.ERR, number, text.encode())
            frames.write(self._port, frames.EXIT, number, b"127")
            return
        self._processes[number] = process
        self._open[number] = 2
        for pipe, kind in ((process.stdout, frames.OUT), (process.stderr, frames.ERR)):
            self._selector.register(pipe, selectors.EVENT_READ, (number, kind, pipe))

    def _forward(self, fd, number, kind, pipe):
        data = os.read(fd, frames.CHUNK)
        if data:
            frames.write(self._port, kind, number, data)
            return
        self._selector.unregister(pipe)
        pipe.close()
        self._open[number] -= 1

    def _reap(self):
        """Collects whatever ended: as first process this one is everybody's parent in the end."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                self._statuses[pid] = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            pass
        ours = {process.pid: number for number, process in self._processes.items()}
        self._statuses = {pid: status for pid, status in self._statuses.items() if pid in ours}
        for pid, status in list(self._statuses.items()):
            number = ours[pid]
            # What it left in its pipes comes first; a daemon that keeps them open is not waited for.
            self._drain(number)
            process = self._processes.pop(number)
            process.returncode = status
            process.stdin.close()
            del self._statuses[pid], self._open[number]
            frames.write(self._port, frames.EXIT, number, str(status).encode())

    def _drain(self, number):
        for key in list(self._selector.get_map().values()):
            if not isinstance(key.data, tuple) or key.data[0] != number:
                continue
            os.set_blocking(key.fd, False)
            while True:
                try:
                    data = os.read(key.fd, frames.CHUNK)
                except BlockingIOError:
                    data = b""
                if not data:
                    break
                frames.write(self._port, key.data[1], number, data)
            self._selector.unregister(key.fileobj)
            key.fileobj.close()


def main():
    with open("/proc/cmdline", encoding="ascii") as file:
        words = [word.removeprefix("shunt.").partition("=") for word in file.read().split()
                 if word.startswith("shunt.")]
    set_up({key: value for key, _, value in words})
    Agent().serve()


if __name__ == "__main__":
    try:
        main()
    except BaseException as error:  # the end of the first process is a panic, which says less
        print(f"guest: {error}", flush=True)
        subprocess.run(["busybox", "poweroff", "-f"], check=False)
