"""A node: a private containerd with everything it needs, and its end.

`Node` is a context manager. Inside it there is a containerd of Debian's, with root, state, socket,
CNI configuration and network of its own, that knows the runtimes RUNC and SHUNT; outside it nothing
is left, whatever happened in between (see keeper.py). Nothing here sleeps for a fixed time.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from . import configuration, paths, proc, traces
from .configuration import RUNC, SHUNT
from .images import IMAGES

_KEEPER = os.path.join(os.path.dirname(os.path.realpath(__file__)), "keeper.py")


class Skip(Exception):
    """What is asked for cannot be done here; the message says why. Tests exit with 77."""


class CommandFailed(Exception):
    """A command ended with an unexpected exit status; `result` is what subprocess gave."""

    def __init__(self, result):
        self.result = result
        text = [f"{' '.join(map(str, result.args))}: exit status {result.returncode}"]
        for stream in (result.stdout, result.stderr):
            if stream:
                text.append(stream if isinstance(stream, str) else repr(stream[:2000]))
        super().__init__("\n".join(text))


def wait_until(predicate, what, timeout=10.0, interval=0.01):
    """Calls `predicate` until it gives something true, which is returned. For the few things that
    announce themselves by no event; raises TimeoutError naming `what`."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {timeout:g} s")
        time.sleep(interval)


class Node:
    """Arguments:
    network   "own": a network namespace of the node's own (default); "host": the caller's.
    subnet    of the pods' bridge, from 198.18.0.0/15.
    mtu       of the pods' interfaces; None: the kernel's default.
    config    Shunt's configuration file as a dict; `state` is filled in. None: only `state`.
    shim_dir  directory of the shim under test (default: the build's, see paths.build_dir).
    path      directories to put before the shim's in containerd's PATH.
    keep      keep the containerd log at this path when the node ends.

    Attributes: name (also the containerd namespace and the cgroup of its containers), dir,
    address (containerd's socket), config_path (Shunt's YAML), pid (the keeper: its namespaces are
    the node's), containerd_pid, host_address (of the node itself, once it is on a network).
    """

    def __init__(self, network="own", subnet="198.18.0.0/24", mtu=None, config=None, shim_dir=None,
                 path=(), keep=None):
        self.network = network
        self.subnet = subnet
        self.mtu = mtu
        self.host_address = None
        self.config = dict(config or {})
        self.shim_dir = shim_dir or os.path.dirname(paths.shim_binary())
        self.path = list(path)
        self.keep = keep
        self.containerd_pid = None
        self._keeper = None
        self._cri = None
        self._tasks = None
        self._imported = set()

    # Life and death

    def __enter__(self):
        if os.geteuid() != 0:
            raise Skip("needs root")
        self.name = f"shunt-{secrets.token_hex(4)}"
        # A short path: a socket's may have 107 characters.
        self.dir = os.path.join(os.environ.get("SHUNT_TMP", "/tmp"), self.name)
        os.mkdir(self.dir, 0o711)
        self.address = os.path.join(self.dir, "c.sock")
        self.config_path = os.path.join(self.dir, "shunt.yaml")
        self.log_path = os.path.join(self.dir, "containerd.log")
        self._catch_sigterm()
        try:
            self._write_configuration()
            self._keeper = subprocess.Popen(
                ["/usr/bin/python3", "-E", _KEEPER, self.dir, self.name, self.network],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"PATH": paths.SYSTEM_PATH},
            )
            self._answer()
            self.pid = self._keeper.pid
            self.start_containerd()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Ends the node. Safe to call twice."""
        self._disconnect()
        if self.keep and os.path.exists(self.log_path):
            shutil.copyfile(self.log_path, self.keep)
        keeper, self._keeper = self._keeper, None
        if not keeper:
            shutil.rmtree(self.dir, ignore_errors=True)
            return
        # A second Ctrl-C must not cut the removal short; the keeper would finish it, but unseen.
        with contextlib.suppress(BrokenPipeError, OSError):
            keeper.stdin.write(b'{"stop": true}\n')
            keeper.stdin.flush()
        line = keeper.stdout.readline()
        keeper.stdin.close()
        keeper.stdout.close()
        keeper.wait()
        left = json.loads(line).get("left", []) if line else ["the keeper died"]
        if left:
            print("left behind:", *left, sep="\n  ", file=sys.stderr)

    def _disconnect(self):
        for client in (self._cri, self._tasks):
            if client:
                client.close()
        self._cri = self._tasks = None

    @staticmethod
    def _catch_sigterm():
        """SIGTERM unwinds like Ctrl-C, so that `with` blocks are left in order."""
        if threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    def _answer(self):
        line = self._keeper.stdout.readline()
        answer = json.loads(line) if line else {"error": "the keeper died"}
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def spawn(self, argv, log, env=None):
        """Starts a daemon inside the node, outside any container; returns its pid. It ends with the
        node at the latest. `log` is the file for its output."""
        request = {"spawn": list(argv), "log": log, "env": env or self._environment()}
        self._keeper.stdin.write(json.dumps(request).encode() + b"\n")
        self._keeper.stdin.flush()
        return self._answer()["pid"]

    # containerd

    def _environment(self):
        folders = [*self.path, self.shim_dir, paths.search_path()]
        env = {"PATH": ":".join(folders), "SHUNT_NODE": self.name}
        # A daemon has no stderr: sanitizers write files.
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS"):
            options = [os.environ[name]] if name in os.environ else []
            env[name] = ":".join([f"log_path={self.dir}/sanitizer", *options])
        return env

    def sanitizer_reports(self):
        """What the sanitizers of an instrumented shim had to say, one text a report."""
        return [proc.read(os.path.join(self.dir, name)) for name in sorted(os.listdir(self.dir))
                if name.startswith("sanitizer.")]

    def _write_configuration(self):
        self.write_config(self.config)
        configuration.write(self.dir, self.subnet, self.mtu)

    def write_config(self, config, path=None):
        """Writes a Shunt configuration (JSON is YAML) with the node's own state directory, and
        returns its path. Without `path` it is the one that shims are given by default."""
        path = path or self.config_path
        config = {"state": os.path.join(self.dir, "shunt"), **config}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file, indent=1)
        return path

    def start_containerd(self, timeout=30):
        """Starts containerd and waits until it says that it is ready (sd_notify)."""
        notify = os.path.join(self.dir, "notify")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(notify)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(notify)
            ready.settimeout(0.5)
            env = {**self._environment(), "NOTIFY_SOCKET": notify}
            argv = [paths.tool("containerd"), "--config", os.path.join(self.dir, "config.toml")]
            self.containerd_pid = self.spawn(argv, self.log_path, env)
            deadline = time.monotonic() + timeout
            while True:
                try:
                    if b"READY=1" in ready.recv(4096):
                        return
                except TimeoutError:
                    if not proc.alive(self.containerd_pid) or time.monotonic() > deadline:
                        raise RuntimeError(f"containerd did not start:\n{self.log()[-4000:]}")

    def containerd_version(self):
        """(1, 6) and so on."""
        text = self.execute([paths.tool("containerd"), "--version"]).stdout
        return tuple(int(part) for part in re.search(r" v?(\d+)\.(\d+)\.", text).groups())

    def kill_containerd(self, number=signal.SIGKILL):
        """Kills containerd and waits until it is gone. Tasks stay, as on a real node."""
        os.kill(self.containerd_pid, number)
        wait_until(lambda: not proc.alive(self.containerd_pid), "end of containerd")
        self.containerd_pid = None
        self._disconnect()

    def log(self):
        """containerd's log so far: its own lines and the shims'."""
        return proc.read(self.log_path)

    # Commands

    def inside(self, argv):
        """argv that runs `argv` in the node's namespaces."""
        flags = ["-m", "-n"] if self.network == "own" else ["-m"]
        return [paths.tool("nsenter"), "-t", str(self.pid), *flags, "--", *map(str, argv)]

    def ctr_argv(self, *args, namespace=None):
        """argv of a ctr command, for subprocess; `env=node.env()` belongs to it."""
        return self.inside([paths.tool("ctr"), "-a", self.address, "-n", namespace or self.name,
                            *args])

    def env(self):
        """The environment for commands on behalf of the node: it marks them as the node's, so that
        they end with it."""
        return {"PATH": paths.search_path(), "SHUNT_NODE": self.name, "TERM": "xterm"}

    def execute(self, argv, check=True, timeout=60, text=True, input=None, **kwargs):
        """subprocess.run of `argv` inside the node, output captured unless `stdout`/`stderr` say
        otherwise. Exit status not 0: CommandFailed, unless check=False."""
        return self._run(self.inside(argv), check, timeout, text, input, kwargs)

    def ctr(self, *args, check=True, timeout=60, text=True, input=None, namespace=None, **kwargs):
        """The same for ctr against the node's containerd, in the node's containerd namespace."""
        argv = self.ctr_argv(*args, namespace=namespace)
        return self._run(argv, check, timeout, text, input, kwargs)

    def _run(self, argv, check, timeout, text, data, kwargs):
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.PIPE)
        if data is None:
            kwargs.setdefault("stdin", subprocess.DEVNULL)
        else:
            kwargs["input"] = data
        result = subprocess.run(argv, env=self.env(), timeout=timeout, text=text, **kwargs)
        if check and result.returncode != 0:
            raise CommandFailed(result)
        return result

    # Images and containers

    def image(self, image="busybox", namespace=None):
        """Imports an image (an Image or a name from IMAGES) once; returns its reference. For pods
        use `node.cri.image`."""
        image = IMAGES[image] if isinstance(image, str) else image
        namespace = namespace or self.name
        if (image.reference, namespace) not in self._imported:
            self.ctr("image", "import", image.archive(), namespace=namespace, timeout=120)
            self._imported.add((image.reference, namespace))
        return image.reference

    def run_argv(self, id, *args, image="busybox", runtime=SHUNT, flags=(), config=None):
        """argv of `ctr run`. `flags` are ctr's; `config` is the path of another Shunt YAML."""
        options = ["--runtime", runtime]
        if runtime == SHUNT:
            options += ["--runtime-config-path", config or self.config_path]
        return self.ctr_argv("run", *options, *flags, self.image(image), id, *args)

    def run(self, id, *args, image="busybox", runtime=SHUNT, flags=(), rm=True, config=None,
            check=True, timeout=60, text=True, input=None, **kwargs):
        """`ctr run --rm`: in the foreground, the container is gone afterwards (rm=False: not)."""
        flags = ["--rm", *flags] if rm else flags
        argv = self.run_argv(id, *args, image=image, runtime=runtime, flags=flags, config=config)
        return self._run(argv, check, timeout, text, input, kwargs)

    def start(self, id, *args, image="busybox", runtime=SHUNT, flags=(), config=None, timeout=60,
              stdin=subprocess.DEVNULL):
        """`ctr run -d`: starts a container and returns the pid of its first process. Its output
        goes nowhere unless flags have a --log-uri."""
        if not any(flag.startswith(("--log-uri", "--null-io")) for flag in flags):
            flags = ["--null-io", *flags]
        argv = self.run_argv(id, *args, image=image, runtime=runtime, flags=["-d", *flags],
                             config=config)
        self._run(argv, True, timeout, True, None, {"stdin": stdin})
        return self.task_pid(id)

    def exec(self, id, *args, flags=(), check=True, timeout=60, text=True, input=None, **kwargs):
        """`ctr task exec`, with an exec id of its own unless flags have one."""
        if "--exec-id" not in flags:
            flags = ["--exec-id", f"x{secrets.token_hex(6)}", *flags]
        argv = self.ctr_argv("task", "exec", *flags, id, *args)
        return self._run(argv, check, timeout, text, input, kwargs)

    def create(self, id, *args, image="busybox", runtime=SHUNT, flags=(), config=None):
        """`ctr container create`: a container without a task."""
        options = ["--runtime", runtime]
        if runtime == SHUNT:
            options += ["--runtime-config-path", config or self.config_path]
        self.ctr("container", "create", *options, *flags, self.image(image), id, *args)

    def root_mount(self, id):
        """{"type", "source", "options"} of the mount that makes a container's root file system."""
        words = self.ctr("snapshot", "mounts", "/target", id).stdout.split()
        # mount -t TYPE SOURCE TARGET -o OPTIONS
        return {"type": words[2], "source": words[3], "options": words[6].split(",")}

    def remove(self, id, check=True):
        """Kills and deletes a container and its task, whatever state they are in."""
        self.ctr("task", "rm", "-f", id, check=False)
        return self.ctr("container", "rm", id, check=check)

    def tasks(self, namespace=None):
        """{container: (pid, status)} as `ctr task ls` prints it."""
        lines = self.ctr("task", "ls", namespace=namespace).stdout.splitlines()[1:]
        return {id: (int(pid), status) for id, pid, status in (line.split() for line in lines)}

    def task_pid(self, id):
        return self.tasks()[id][0]

    # Observation

    def events(self, *filters):
        """Subscribes to containerd's events: see events.py. A context manager."""
        from .events import Events

        return Events(self, filters)

    def listens(self, pid, port):
        """Whether something listens at a TCP port in the network of a process. Nothing is connected:
        what a probe leaves behind would be counted among the connections."""
        wanted = f":{port:04X}"
        return any(line.split()[1].endswith(wanted) and line.split()[3] == "0A"
                   for table in ("tcp", "tcp6")
                   for line in proc.read(f"/proc/{pid}/net/{table}").splitlines()[1:])

    @property
    def cri(self):
        """The CRI client (cri.py), connected on first use."""
        if not self._cri:
            from .cri import Cri

            self._cri = Cri(self)
        return self._cri

    @property
    def task_service(self):
        """containerd's task service (tasks.py), connected on first use."""
        if not self._tasks:
            from .tasks import Tasks

            self._tasks = Tasks(self)
        return self._tasks

    def shims(self, runtime=None):
        """Pids of the running shim processes, of both kinds or of one."""
        names = {RUNC: "containerd-shim-runc-v2", SHUNT: paths.SHIM_NAME}
        wanted = {names[runtime]} if runtime else set(names.values())
        found = []
        for pid in proc.descendants(self.pid):
            argv = proc.cmdline(pid)
            if argv and os.path.basename(argv[0]) in wanted:
                found.append(pid)
        return sorted(found)

    def shim_of(self, id):
        """Pid of the shim that holds the container: the nearest ancestor that is one."""
        parents, pid, shims = proc.parents(), self.task_pid(id), set(self.shims())
        while pid and pid not in shims:
            pid = parents.get(pid, 0)
        return pid or None

    def traces(self):
        """What containers and shims leave on a node while they live, by kind (traces.py). All lists
        are empty when nothing runs and everything was cleaned up."""
        return traces.of(self)
