#!/usr/bin/python3
"""The process that owns a node: its namespaces, its containerd, everything below it, and its end.

`node.py` starts one keeper per node and talks to it in JSON lines over stdin and stdout. The keeper
lives in a mount namespace of its own, in which /run and /var/lib/cni are empty and private, so
containerd, runc and CNI find their usual paths and the machine's own are not touched; and, unless
told otherwise, in a network namespace of its own. It is a child subreaper, so whatever daemonizes
below it (shims, containers whose shim died) stays its descendant.

When stdin ends, which happens however the test's process dies, the keeper kills what is left below
it, removes the cgroups and the directory, and exits; the namespaces and their mounts go with it.

    keeper.py DIR NAME own|host       (the last: which network namespace)

Requests: {"spawn": argv, "env": {...}, "log": path} -> {"pid": N}; {"stop": true} -> {"left": [..]}
"""

import ctypes
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time

import proc

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
MUCH_MEMORY = 6 << 30
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
CGROUPS = "/sys/fs/cgroup"

libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(kind, target, options=b""):
    check(libc.mount(kind, target.encode(), kind, 0, options), f"mount {target}")


def isolate(own_network):
    """Enters the node's namespaces. Returns a descriptor of the mount namespace left behind and
    whether /var/lib/cni had to be made."""
    outside = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    made = not os.path.isdir("/var/lib/cni")
    os.makedirs("/var/lib/cni", exist_ok=True)
    check(libc.unshare(CLONE_NEWNS | (CLONE_NEWNET if own_network else 0)), "unshare")
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount --make-rprivate /")
    # resolv.conf may be a link into /run; CRI copies it into every pod.
    resolver = None
    if os.path.realpath("/etc/resolv.conf").startswith("/run/"):
        resolver = os.path.realpath("/etc/resolv.conf")
        with open(resolver, "rb") as file:
            text = file.read()
    # Copies of the machine's mounts below /run would stay, unseen, and pin what they show.
    for path in reversed(proc.mounts("self")):
        if path.startswith("/run/"):
            libc.umount2(path.encode(), MNT_DETACH)
    mount(b"tmpfs", "/run", b"mode=755")
    mount(b"tmpfs", "/var/lib/cni", b"mode=755")
    if resolver:
        os.makedirs(os.path.dirname(resolver), exist_ok=True)
        with open(resolver, "wb") as file:
            file.write(text)
    os.makedirs("/run/netns", exist_ok=True)
    if own_network:
        subprocess.run(["/sbin/ip", "link", "set", "lo", "up"], check=True)
    return outside, made


def available_memory():
    """Bytes that could be used without swapping."""
    for line in proc.read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def images_in_memory(folder):
    """Where containerd keeps images and containers' files, which it syncs to the disk piece by piece:
    an import takes tens of seconds while something else writes much. They end with the node anyway.
    Not where memory is short."""
    root = os.path.join(folder, "root")
    os.mkdir(root, 0o711)
    if available_memory() > MUCH_MEMORY:
        mount(b"tmpfs", root, b"mode=711,size=50%")


def cgroups(name):
    """The node's cgroup directories, parents first, in every hierarchy."""
    result = []
    for hierarchy in [CGROUPS, *(entry.path for entry in os.scandir(CGROUPS) if entry.is_dir())]:
        for folder, _, _ in os.walk(os.path.join(hierarchy, name)):
            result.append(folder)
    return result


def members(name):
    """Processes in the node's cgroups."""
    found = set()
    for folder in cgroups(name):
        found.update(int(line) for line in proc.read(f"{folder}/cgroup.procs").split())
    return found


def marked(name):
    """Processes started for the node from outside it (ctr, commands): their environment says so."""
    marker = f"SHUNT_NODE={name}"
    return [pid for pid in proc.pids() if marker in proc.read(f"/proc/{pid}/environ").split("\0")]


def kill_all(name, deadline):
    """Ends every process of the node. Returns those that would not die."""
    me = os.getpid()
    while True:
        for folder in cgroups(name):  # a frozen process does not take its SIGKILL
            for file, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                try:
                    with open(f"{folder}/{file}", "w", encoding="ascii") as out:
                        out.write(thawed)
                except OSError:
                    pass
        targets = set(proc.descendants(me)) | members(name) | set(marked(name))
        targets = {pid for pid in targets if pid != me and proc.alive(pid)}
        for pid in targets:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        reap()
        if not targets or time.monotonic() > deadline:
            return sorted(targets)
        time.sleep(0.01)


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def remove_cgroups(name, deadline):
    while True:
        left = [folder for folder in reversed(cgroups(name)) if not removed(folder)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.01)


def removed(folder):
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


def tear_down(folder, name, outside, made_cni):
    deadline = time.monotonic() + 20
    left = [f"process {pid}: {' '.join(proc.cmdline(pid))}" for pid in kill_all(name, deadline)]
    left += [f"cgroup {path}" for path in remove_cgroups(name, deadline)]
    for path in reversed(proc.mounts("self")):
        if path.startswith(folder + "/"):
            libc.umount2(path.encode(), MNT_DETACH)
    # Outside, none of the node's mounts exists: the removal cannot walk into one of them.
    check(libc.setns(outside, CLONE_NEWNS), "setns")
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.exists(folder):
        left.append(f"directory {folder}")
    if made_cni:
        removed("/var/lib/cni")
    return left


def spawn(request):
    with open(request["log"], "ab") as log:
        process = subprocess.Popen(
            request["spawn"], env=request["env"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    process.returncode = 0  # reap() waits for it; Popen must not
    return {"pid": process.pid}


def serve(answer):
    """Carries out requests until the end of stdin; True if the end was asked for."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    buffered = b""
    while True:
        for key, _ in selector.select():
            if key.fd == wake_read:
                os.read(wake_read, 4096)
                reap()
                continue
            data = os.read(0, 65536)
            if not data:
                return False
            buffered += data
            while b"\n" in buffered:
                line, buffered = buffered.split(b"\n", 1)
                request = json.loads(line)
                if "stop" in request:
                    return True
                try:
                    answer(spawn(request))
                except OSError as error:
                    answer({"error": str(error)})


def main():
    folder, name, network = sys.argv[1:4]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    libc.prctl(PR_SET_NAME, b"shunt-keeper", 0, 0, 0)
    check(libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")

    def answer(message):
        try:
            os.write(1, json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # nobody listens any more

    try:
        outside, made_cni = isolate(network == "own")
        images_in_memory(folder)
    except OSError as error:
        answer({"error": str(error)})
        return 1
    answer({"ready": True})
    asked = serve(answer)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    left = tear_down(folder, name, outside, made_cni)
    if asked:
        answer({"left": left})
    elif left:
        print("\n".join(["left behind:", *left]), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
