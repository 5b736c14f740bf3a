"""From created to deleted: states, signals, pause, metrics, update, deletion."""

import json
import signal

from harness import wait_until
from lib import Image

from .stage import scenario

# `ctr container create` takes the options of the program for its own: a program without any.
EXITS = Image("exits", files=(("/bin/exit3", 0o755, "#!/bin/sh\nexit 3\n"),))


@scenario
def create_then_start(stage):
    stage.node.create(stage.id, "exit3", image=EXITS, runtime=stage.runtime)
    stage.ctr("no task", "task", "ls")
    stage.ctr("start", "task", "start", stage.id)
    stage.ctr("start again", "task", "start", stage.id)
    stage.ctr("rm", "task", "rm", stage.id)


@scenario
def kill_by_each_signal(stage):
    for name in ("SIGTERM", "KILL", "2", "SIGUSR1", "HUP"):
        stage.start("sh", "-c", "trap 'exit 42' USR1; trap 'exit 43' INT; sleep 1000 & wait")
        # The trap must stand before the signal comes: the child is started after it.
        wait_until(lambda: len(stage.node.task_service.call(
            "ListPids", container_id=stage.id).processes) == 2, "child of the shell")
        stage.ctr(f"kill {name}", "task", "kill", "-s", name, stage.id)
        if name in ("SIGTERM", "HUP"):  # ignored by a first process without a handler
            stage.status(f"after {name}")
            stage.ctr(f"kill all {name}", "task", "kill", "-a", "-s", "KILL", stage.id)
        exit = stage.wait_event("/tasks/exit", id=stage.id)
        stage.note(f"exit by {name}", exit.exit_status)
        stage.ctr(f"kill stopped {name}", "task", "kill", stage.id)
        stage.ctr(f"rm {name}", "task", "rm", stage.id)
        stage.node.ctr("container", "rm", stage.id)
        stage.note(f"events of {name}", [stage._event(event) for event in
                                         stage.events.of(stage.id)])
        stage.events.forget()


@scenario
def kill_errors(stage):
    stage.start("sleep", "1000")
    stage.ctr("no such signal", "task", "kill", "-s", "SIGNONE", stage.id)
    stage.ctr("no such container", "task", "kill", "nobody")
    stage.ctr("no such exec", "task", "kill", "--exec-id", "nobody", stage.id)
    stage.call("signal 0", "Kill", signal=0)
    stage.call("signal 64", "Kill", signal=64)
    stage.call("signal 200", "Kill", signal=200)


@scenario
def delete_errors(stage):
    stage.start("sleep", "1000")
    stage.ctr("delete running", "task", "rm", stage.id)
    stage.call("delete running by the service", "Delete")
    stage.ctr("container rm with task", "container", "rm", stage.id)
    stage.status("still running")
    stage.ctr("force", "task", "rm", "-f", stage.id)
    stage.ctr("delete twice", "task", "rm", stage.id)
    stage.call("delete twice by the service", "Delete")
    stage.call("wait after delete", "Wait")
    stage.call("kill after delete", "Kill", signal=9)


def _created(stage, *args):
    stage.node.create(stage.id, *args, image=EXITS, runtime=stage.runtime)
    stage.call("state without a task", "Get")
    stage.call("start without a task", "Start")
    stage.pid(stage.node.task_service.create(stage.id).pid)
    stage.status("created")


@scenario
def created_and_started(stage):
    _created(stage, "exit3")
    stage.ctr("ls", "task", "ls")
    stage.ctr("create twice", "task", "start", "-d", stage.id)
    stage.call("pause created", "Pause")
    stage.call("resume created", "Resume")
    waiting = stage.node.task_service.wait_later(stage.id)
    stage.call("start", "Start")
    stage.note("waited", waiting.result().exit_status)
    stage.call("start stopped", "Start")


@scenario
def created_and_deleted(stage):
    _created(stage, "sleep", "1000")
    answer = stage.call("delete", "Delete")
    stage.note("deleted", answer and (answer.exit_status, stage.pid(answer.pid)))


@scenario
def created_and_killed(stage):
    _created(stage, "sleep", "1000")
    stage.call("exec in created", "exec", "x", ["true"])
    waiting = stage.node.task_service.wait_later(stage.id)
    stage.call("kill", "Kill", signal=9)
    stage.note("waited", waiting.result().exit_status)
    stage.status("killed")
    stage.call("start killed", "Start")
    answer = stage.call("delete", "Delete")
    stage.note("deleted", answer and (answer.exit_status, stage.pid(answer.pid)))


@scenario
def pause_and_resume(stage):
    stage.start("sleep", "1000")
    stage.ctr("pause", "task", "pause", stage.id)
    stage.ctr("paused", "task", "ls")
    stage.ctr("pause twice", "task", "pause", stage.id)
    stage.ctr("exec in paused", "task", "exec", "--exec-id", "x", stage.id, "true")
    stage.ctr("delete paused", "task", "rm", stage.id)
    stage.ctr("ps of paused", "task", "ps", stage.id)
    stage.ctr("resume", "task", "resume", stage.id)
    stage.ctr("resumed", "task", "ls")
    stage.ctr("resume twice", "task", "resume", stage.id)
    stage.exec("exec after", "echo", "works")
    stage.ctr("pause again", "task", "pause", stage.id)
    stage.ctr("kill paused", "task", "kill", "-s", "KILL", stage.id)
    stage.wait_event("/tasks/exit", id=stage.id)
    stage.status("killed while paused")
    stage.ctr("pause stopped", "task", "pause", stage.id)
    stage.ctr("resume stopped", "task", "resume", stage.id)


@scenario
def paused_and_forced_away(stage):
    stage.start("sleep", "1000")
    stage.ctr("pause", "task", "pause", stage.id)
    stage.ctr("force", "task", "rm", "-f", stage.id)


def _shape(value):
    """The structure of a JSON value: names, not numbers."""
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return type(value).__name__


@scenario
def metrics(stage):
    stage.start("sh", "-c", "sleep 1000 & sleep 1000 & wait", flags=["--memory-limit", "67108864"])
    table = stage.node.ctr("task", "metrics", stage.id).stdout
    stage.note("rows", [line.split()[0] for line in table.splitlines() if line.strip()])
    figures = json.loads(stage.node.ctr("task", "metrics", "--format", "json", stage.id).stdout)
    cpu, memory, varying = figures["cpu"], figures["memory"], ("active", "file", "cache", "maj")
    if "usage" in cpu:  # cgroup v1
        cpu, usage = cpu["usage"], memory["usage"]
        limit, used, spent = usage["limit"], usage["usage"], cpu["total"]
    else:
        limit, used, spent = memory["usage_limit"], memory["usage"], cpu["usage_usec"]
        varying = (*varying, "thp", "shmem", "slab", "pg")
    for name in ("kernel", "user", "user_usec", "system_usec"):  # in ticks, left out while 0
        cpu.pop(name, None)
    for name in list(memory):  # lists of pages, faults and the like: left out while 0
        if any(part in name for part in varying):
            del memory[name]
    stage.note("shape", _shape(figures))
    stage.note("pids", figures["pids"])
    stage.note("limit", limit)
    stage.note("memory is used", used > 4096)
    stage.note("time is used", spent > 0)
    stage.ctr("kill", "task", "kill", "-s", "KILL", stage.id)
    stage.wait_event("/tasks/exit")
    stopped = stage.node.ctr("task", "metrics", stage.id, check=False)
    stage.note("metrics of stopped", (stopped.returncode, stopped.stderr))


def _setting(pid, unified, separate):
    """What the cgroup of a process says: in one hierarchy (v2), or in the controller's own."""
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        groups = {name: path for line in file for _, names, path in [line.strip().split(":", 2)]
                  for name in names.split(",")}
    controller = separate.partition(".")[0]
    path = (f"/sys/fs/cgroup/{controller}{groups[controller]}/{separate}" if controller in groups
            else f"/sys/fs/cgroup{groups['']}/{unified}")
    with open(path, encoding="ascii") as file:
        return file.read().strip()


@scenario
def update(stage):
    pid = stage.start("sleep", "1000")
    stage.call("update", "update", {"memory": {"limit": 32 << 20}, "cpu": {"shares": 512},
                                    "pids": {"limit": 77}})
    for names in (("memory.max", "memory.limit_in_bytes"), ("cpu.weight", "cpu.shares"),
                  ("pids.max", "pids.max")):
        stage.note(names[1], _setting(pid, *names))
    stage.call("impossible", "update", {"memory": {"limit": 1}})
    stage.call("nonsense", "update", {"memory": {"limit": "much"}})
    stage.ctr("kill", "task", "kill", "-s", "KILL", stage.id)
    stage.wait_event("/tasks/exit")
    stage.call("update of stopped", "update", {"memory": {"limit": 32 << 20}})


@scenario
def waiting(stage):
    """Clients that wait before and after the exit get the same answer."""
    stage.start("sh", "-c", "trap 'exit 9' USR1; sleep 1000 & wait")
    wait_until(lambda: len(stage.node.task_service.call(
        "ListPids", container_id=stage.id).processes) == 2, "child of the shell")
    futures = [stage.node.task_service.wait_later(stage.id) for _ in range(8)]
    stage.call("kill", "Kill", signal=int(signal.SIGUSR1))
    stage.note("waited", [future.result().exit_status for future in futures])
    late = stage.call("wait late", "Wait")
    stage.note("late", late.exit_status)
    stage.call("kill late", "Kill", signal=9)
    answer = stage.call("delete", "Delete")
    stage.note("deleted", (answer.exit_status, stage.pid(answer.pid), answer.id))
