"""Recording a scenario: what each command printed and returned, and the events, without the numbers
that differ from run to run."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from harness import SHUNT, wait_until
from lib.tasks import TaskError

from .differences import DIFFERENCES

SCENARIOS = {}

_VOLATILE = [
    (re.compile(r"/run/containerd/fifo/\d+/"), "/run/containerd/fifo/N/"),
    (re.compile(r"snapshots/\d+"), "snapshots/N"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d{4}| ?UTC|Z)*"), "TIME"),
    (re.compile(r"(usage: )\d+"), r"\1N"),
    (re.compile(r"/tmp/shunt-[0-9a-f]{8}/"), "NODE/"),
    (re.compile(r"shunt-[0-9a-f]{8}"), "NAMESPACE"),
]


def scenario(function):
    """Registers a scenario: a function of a Stage."""
    SCENARIOS[function.__name__] = function
    return function


class Stage:
    """One playing of one scenario. Scenarios use `id` for their container and record with run, ctr,
    exec, call and note; everything recorded is compared."""

    def __init__(self, node, runtime, events):
        self.node = node
        self.runtime = runtime
        self.id = "actor"
        self.events = events
        self.record = []
        self._pids = {}
        self._execs = 0

    def pid(self, number):
        """A name for a pid that is the same in both playings: P1, P2 ... as they come up."""
        return self._pids.setdefault(number, f"P{len(self._pids) + 1}") if number else "P0"

    def clean(self, text):
        """Text without what differs from run to run."""
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        for pattern, replacement in _VOLATILE:
            text = pattern.sub(replacement, text)
        for number, name in self._pids.items():
            text = re.sub(rf"\b{number}\b", name, text)
        # Columns are as wide as the pids in them.
        return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())

    def note(self, label, value):
        self.record.append((label, value))
        return value

    def _result(self, label, result):
        self.note(label, (result.returncode, self.clean(result.stdout or ""),
                          self.clean(result.stderr or "")))
        return result

    def run(self, label, *args, **kwargs):
        """`ctr run`, in the foreground, recorded."""
        result = self.node.run(self.id, *args, runtime=self.runtime, check=False, **kwargs)
        return self._result(label, result)

    def start(self, *args, **kwargs):
        """`ctr run -d`; the pid gets a name. Not recorded, must succeed."""
        number = self.node.start(self.id, *args, runtime=self.runtime, **kwargs)
        self.pid(number)
        return number

    def feed(self, label, argv, data, started):
        """Runs argv, writes `data` to it once the event `started` (topic, fields) has come, and closes
        its input. ctr forwards an end of input only after that."""
        with subprocess.Popen(argv, env=self.node.env(), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                self.wait_event(started[0], **started[1])
                out, err = process.communicate(data, timeout=60)
            except BaseException:
                process.kill()
                raise
        self.events.forget_topic(started[0])
        self.note(label, (process.returncode, self.clean(out[:2000]), self.clean(err)))
        return out

    def run_fed(self, label, data, *args, **kwargs):
        """`ctr run` with `data` as its input; returns its output."""
        argv = self.node.run_argv(self.id, *args, runtime=self.runtime, flags=["--rm"], **kwargs)
        return self.feed(label, argv, data, ("/tasks/start", {}))

    def exec_fed(self, label, data, *args):
        """`ctr task exec` with `data` as its input; returns its output."""
        self._execs += 1
        id = f"exec{self._execs}"
        argv = self.node.ctr_argv("task", "exec", "--exec-id", id, self.id, *args)
        return self.feed(label, argv, data, ("/tasks/exec-started", {"exec_id": id}))

    def ctr(self, label, *args, **kwargs):
        return self._result(label, self.node.ctr(*args, check=False, **kwargs))

    def exec(self, label, *args, flags=(), **kwargs):
        self._execs += 1
        flags = ["--exec-id", f"exec{self._execs}", *flags]
        result = self.node.exec(self.id, *args, flags=flags, check=False, **kwargs)
        return self._result(label, result)

    def call(self, label, method, *args, **fields):
        """A call of containerd's task service (for exec and update: of the client's method), with
        status code and message recorded."""
        tasks = self.node.task_service
        try:
            if method in ("exec", "update"):
                answer = getattr(tasks, method)(self.id, *args, **fields)
            else:
                answer = tasks.call(method, container_id=self.id, **fields)
        except TaskError as error:
            self.note(label, (error.code, self.clean(error.message)))
            return None
        self.note(label, "OK")
        return answer

    def status(self, label, exec_id=""):
        return self.note(label, self.node.task_service.status(self.id, exec_id))

    def wait_event(self, topic, **fields):
        return self.events.wait(topic, container_id=self.id, **fields)

    # A terminal gets its size from ctr after the program has started.
    SIZED = "until stty size 2>&1 | grep -q '[1-9]'; do sleep 0.01; done; "

    def terminal(self, label, argv, script=(), size=(33, 101), timeout=30):
        """Runs argv on a terminal of `size` and records exit status and screen. `script` is a list of
        (what to wait for on the screen, what to do): bytes are typed, a pair resizes."""
        status, screen = on_terminal(argv, self.node.env(), script, size, timeout)
        # ctr sets the size once more after the start, and says so if the program has ended by then.
        lines = [line for line in screen.replace(b"\r", b"").split(b"\n") if b"resize pty" not in line]
        return self.note(label, (status, self.clean(b"\n".join(lines))))

    def finish(self):
        """Removes the container and records its events."""
        self.node.remove(self.id, check=False)
        mine = [event for event in self.events.of(self.id)]
        created = sum(event.topic == "/tasks/create" for event in mine)
        if created:
            self.events.wait("/tasks/delete", count=created, container_id=self.id, id="")
        self.note("events", [self._event(event) for event in self.events.of(self.id)
                             if event.topic != "/tasks/oom"])
        self.note("oom events", any(event.topic == "/tasks/oom" for event in self.events.of(self.id)))

    def _event(self, event):
        fields = {}
        for field, value in event.payload.ListFields():
            if field.name == "pid":
                value = self.pid(value)
            elif field.name == "exited_at":
                value = "TIME"
            elif field.message_type:
                value = " ".join(str(item) for item in value) if field.label == 3 else str(value)
                value = self.clean(value)
            elif isinstance(value, str):
                value = self.clean(value)
            fields[field.name] = value
        return (event.topic, event.namespace == self.node.name, fields)


def on_terminal(argv, env, script, size, timeout):
    """(exit status, output) of argv with a new terminal as its controlling one."""
    master, slave = pty.openpty()
    resize(master, size)

    def own_terminal():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env,
                               preexec_fn=own_terminal)
    os.close(slave)
    screen, script, seen, resized = b"", list(script), 0, False
    deadline = time.monotonic() + timeout
    try:
        if script and not script[0][0]:
            os.write(master, script.pop(0)[1])
        while True:
            if not select.select([master], [], [], 0.2)[0]:
                if resized:  # ctr may not have listened yet
                    os.killpg(process.pid, signal.SIGWINCH)
                if time.monotonic() < deadline:
                    continue
                raise TimeoutError(f"{argv}: after {timeout} s on the screen: {screen!r}")
            try:
                data = os.read(master, 65536)
            except OSError:  # EIO: nobody has the terminal open any more
                data = b""
            if not data:
                return process.wait(timeout), screen
            screen += data
            while script and (at := screen.find(script[0][0], seen)) >= 0:
                seen = at + len(script[0][0])
                action = script.pop(0)[1]
                if isinstance(action, tuple):
                    resize(master, action)
                    resized = True
                else:
                    os.write(master, action)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        os.close(master)


def resize(terminal, size):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))


def play(name, node, runtime):
    """The record of a scenario under a runtime. The node is empty before and after."""
    with node.events() as events:
        stage = Stage(node, runtime, events)
        try:
            SCENARIOS[name](stage)
            stage.finish()
        finally:
            node.remove(stage.id, check=False)
    wait_until(lambda: not node.shims(), "end of the shim", 10)
    return stage.record


def compare(name, reference, ours, runtime=SHUNT):
    """What differs between the two records and is not allowed to, as lines of text."""
    problems = []
    allowed = DIFFERENCES.get(name, {}) if runtime == SHUNT else {}
    if [label for label, _ in reference] != [label for label, _ in ours]:
        problems.append(f"steps differ: {[l for l, _ in reference]} and {[l for l, _ in ours]}")
    for (label, expected), (_, found) in zip(reference, ours):
        difference = allowed.get(label)
        if difference and difference.covers(expected, found):
            continue
        if difference and expected == found:
            problems.append(f"{label}: does not differ any more; take it from differences.py")
        if expected != found:
            problems.append(f"{label}:\n    runc:  {_show(expected)}\n    shunt: {_show(found)}")
    return problems


def _show(value):
    if isinstance(value, list):
        return "".join(f"\n      {item}" for item in value)
    return repr(value)
