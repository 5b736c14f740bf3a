"""Further processes in a container: exec in its forms, and its errors."""

import os

from .stage import scenario


@scenario
def exec_results(stage):
    stage.start("sleep", "1000")
    for code in (0, 1, 126, 127, 255):
        stage.exec(f"exit {code}", "sh", "-c", f"exit {code}")
    stage.exec("killed", "sh", "-c", "kill -9 $$")
    stage.exec("terminated", "sh", "-c", "kill -15 $$")
    stage.exec("both streams", "sh", "-c", "echo out; echo err >&2")
    stage.exec_fed("stdin", b"from stdin\n", "sh", "-c", "cat; echo end")
    stage.exec("user", "sh", "-c", "id; pwd", flags=["--user", "1000:1000", "--cwd", "/tmp"])
    stage.exec("missing binary", "/no/such/program")
    stage.exec("missing in PATH", "no-such-program")
    stage.exec("not executable", "/etc/passwd")
    stage.exec("bad cwd", "true", flags=["--cwd", "/etc/passwd"])
    stage.exec("still works", "echo", "yes")


@scenario
def exec_on_terminal(stage):
    stage.start("sleep", "1000")

    def argv(*args):
        return stage.node.ctr_argv("task", "exec", "--exec-id", "x", "-t", stage.id, *args)

    stage.terminal("size", argv("sh", "-c", stage.SIZED + "stty size; tty; exit 7"))
    stage.terminal("typing", argv("sh", "-c", stage.SIZED + "echo ready; read line; echo got $line"),
                   [(b"ready", b"hello\r")])
    stage.terminal("resize", argv("sh", "-c", stage.SIZED +
                                  "echo ready; until stty size | grep -q '44 55'; do sleep 0.05; done;"
                                  " echo resized"),
                   [(b"ready", (44, 55))])


@scenario
def exec_detached(stage):
    stage.start("sleep", "1000")
    done = os.path.join(stage.node.dir, "done")
    stage.ctr("exec -d", "task", "exec", "-d", "--exec-id", "x", "--log-uri", f"file://{done}",
              stage.id, "sh", "-c", "echo from exec; exit 4")
    exit = stage.wait_event("/tasks/exit", id="x")
    stage.note("exit", exit.exit_status)
    with open(done, encoding="utf-8") as file:
        stage.note("log", file.read())
    os.unlink(done)
    stage.ctr("same id", "task", "exec", "-d", "--exec-id", "x", stage.id, "true")
    stage.status("stopped", "x")
    stage.ctr("delete", "task", "rm", "--exec-id", "x", stage.id)
    stage.ctr("delete twice", "task", "rm", "--exec-id", "x", stage.id)
    stage.ctr("id is free again", "task", "exec", "--exec-id", "x", stage.id, "echo", "again")


@scenario
def exec_by_the_service(stage):
    """Each state of an exec, by containerd's own interface."""
    stage.start("sleep", "1000")
    tasks = stage.node.task_service
    stage.call("start unknown", "Start", exec_id="x")
    stage.call("exec", "exec", "x", ["sleep", "1000"])
    stage.status("created", "x")
    stage.call("exec twice", "exec", "x", ["true"])
    stage.call("kill created", "Kill", exec_id="x", signal=9)
    stage.call("delete created", "DeleteProcess", exec_id="x")
    stage.call("deleted", "Get", exec_id="x")
    stage.call("exec again", "exec", "x", ["sleep", "1000"])
    waiting = tasks.wait_later(stage.id, "x")
    started = stage.call("start", "Start", exec_id="x")
    stage.pid(started.pid)
    stage.status("running", "x")
    stage.ctr("ps", "task", "ps", stage.id)
    stage.call("start twice", "Start", exec_id="x")
    stage.call("delete running", "DeleteProcess", exec_id="x")
    stage.call("resize without terminal", "ResizePty", exec_id="x", width=10, height=10)
    stage.call("close stdin", "CloseIO", exec_id="x", stdin=True)
    stage.call("close stdin twice", "CloseIO", exec_id="x", stdin=True)
    stage.call("kill", "Kill", exec_id="x", signal=15)
    stage.note("waited", waiting.result().exit_status)
    stage.status("stopped", "x")
    stage.call("kill stopped", "Kill", exec_id="x", signal=9)
    stage.call("start stopped", "Start", exec_id="x")
    stage.call("close stdin stopped", "CloseIO", exec_id="x", stdin=True)
    stage.call("resize stopped", "ResizePty", exec_id="x", width=10, height=10)
    late = stage.call("wait late", "Wait", exec_id="x")
    stage.note("late", late.exit_status)
    answer = stage.call("delete", "DeleteProcess", exec_id="x")
    stage.note("deleted", (answer.exit_status, stage.pid(answer.pid), answer.id))
    stage.call("delete twice", "DeleteProcess", exec_id="x")
    stage.call("wait deleted", "Wait", exec_id="x")


@scenario
def exec_that_fails(stage):
    """An exec whose program does not exist: waiters are let go, and it can be deleted."""
    stage.start("sleep", "1000")
    stage.call("exec", "exec", "x", ["/no/such/program"])
    waiting = stage.node.task_service.wait_later(stage.id, "x")
    stage.call("start", "Start", exec_id="x")
    stage.note("waited", waiting.result().exit_status)
    stage.status("after", "x")
    answer = stage.call("delete", "DeleteProcess", exec_id="x")
    stage.note("deleted", answer and answer.exit_status)


@scenario
def exec_killed_by_id(stage):
    stage.start("sleep", "1000")
    stage.ctr("exec -d", "task", "exec", "-d", "--exec-id", "x", "--log-uri", "file:///dev/null",
              stage.id, "sleep", "1000")
    stage.ctr("kill", "task", "kill", "--exec-id", "x", "-s", "USR1", stage.id)
    stage.note("exit", stage.wait_event("/tasks/exit", id="x").exit_status)
    stage.status("container", "")
    stage.ctr("kill again", "task", "kill", "--exec-id", "x", stage.id)
    stage.ctr("force", "task", "rm", "-f", "--exec-id", "x", stage.id)


@scenario
def execs_end_with_the_container(stage):
    """The exit of the first process is the last one that is reported."""
    stage.start("sh", "-c", "trap 'exit 0' USR1; while :; do sleep 0.05; done")
    for number in range(3):
        stage.call(f"exec {number}", "exec", f"x{number}", ["sleep", "1000"])
        started = stage.call(f"start {number}", "Start", exec_id=f"x{number}")
        stage.pid(started.pid)
    stage.call("kill", "Kill", signal=10)
    stage.wait_event("/tasks/exit", id=stage.id)
    exits = [event for event in stage.events.of(stage.id) if event.topic == "/tasks/exit"]
    stage.note("exits", sorted((event.id, event.exit_status) for event in exits))
    stage.note("last", exits[-1].id)
    for number in range(3):
        stage.call(f"delete {number}", "DeleteProcess", exec_id=f"x{number}")
    # Their order among themselves is the kernel's choice.
    stage.events.forget()


@scenario
def exec_after_the_end(stage):
    stage.start("true")
    stage.wait_event("/tasks/exit")
    stage.ctr("exec", "task", "exec", "--exec-id", "x", stage.id, "true")
    stage.call("by the service", "exec", "y", ["true"])
    stage.call("start", "Start", exec_id="y")
    stage.ctr("ps", "task", "ps", stage.id)
