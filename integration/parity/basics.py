"""ctr run in its forms: exit codes, output, terminal, root file system, user, limits."""

import re

from lib import Image

from .stage import scenario

USER = Image("user", user="1000:1000")
NOT_EXECUTABLE = Image("notexec", files=(("/bin/plain", 0o644, "#!/bin/sh\necho no\n"),
                                         ("/bin/nointerpreter", 0o755, "#!/no/such\n"),
                                         ("/bin/garbage", 0o755, "\0\1\2\3")))


@scenario
def exit_codes(stage):
    for code in (0, 1, 2, 126, 127, 200, 255):
        stage.run(f"exit {code}", "sh", "-c", f"exit {code}")
    for number in (1, 2, 9, 15):
        stage.run(f"signal {number}", "sh", "-c", f"kill -{number} $$; sleep 1")
    # The first process of a pid namespace does not feel its own signals; a child does.
    stage.run("child killed", "sh", "-c", "sh -c 'kill -9 $$'")


@scenario
def output(stage):
    stage.run("both streams", "sh", "-c", "echo out; echo err >&2")
    stage.run("no newline", "printf", "no newline")
    stage.run("nothing", "true")
    stage.run("environment", "sh", "-c", "echo $COLOR; pwd", flags=["--env", "COLOR=blue",
                                                                     "--cwd", "/tmp"])
    stage.run("mount", "cat", "/mnt/hostname", flags=[
        "--mount", "type=bind,src=/etc,dst=/mnt,options=rbind:ro"])


@scenario
def terminal(stage):
    def argv(*args):
        return stage.node.run_argv(stage.id, *args, runtime=stage.runtime, flags=["--rm", "-t"])

    stage.terminal("size", argv("sh", "-c", stage.SIZED +
                                "stty size; tty; test -t 2 && echo terminal; exit 7"))
    stage.terminal("typing", argv("sh", "-c", stage.SIZED +
                                  "echo ready; read line; echo got $line"),
                   [(b"ready", b"hello\r")])
    stage.terminal("resize", argv("sh", "-c", stage.SIZED +
                                  "echo ready; until stty size | grep -q '44 55'; do sleep 0.05; done;"
                                  " echo resized"),
                   [(b"ready", (44, 55))])
    stage.terminal("interrupt", argv("sh", "-c", stage.SIZED + "echo ready; cat; echo $?"),
                   [(b"ready", b"\x03")])
    stage.terminal("end of file", argv("sh", "-c", stage.SIZED + "echo ready; cat; echo done"),
                   [(b"ready", b"text\r"), (b"text", b"\x04")])


@scenario
def detached(stage):
    stage.start("sleep", "1000")
    stage.ctr("ls", "task", "ls")
    stage.ctr("ls -q", "task", "ls", "-q")
    stage.ctr("ps", "task", "ps", stage.id)
    stage.ctr("same id", "run", "--runtime", stage.runtime, "-d", "--null-io",
              stage.node.image("busybox"), stage.id, "true")
    stage.ctr("second start", "task", "start", "-d", stage.id)
    stage.ctr("kill", "task", "kill", "-s", "KILL", stage.id)
    stage.wait_event("/tasks/exit")
    stage.status("stopped")
    stage.ctr("rm", "task", "rm", stage.id)
    stage.ctr("ls after", "task", "ls")


@scenario
def read_only_root(stage):
    stage.run("read-only", "touch", "/file", flags=["--read-only"])
    stage.run("writable", "touch", "/file")


@scenario
def other_user(stage):
    stage.run_fed("user", b"from stdin", "sh", "-c",
                  "id; touch /file; echo out; echo err >&2; cat", image=USER)
    stage.terminal("terminal", stage.node.run_argv(
        stage.id, "sh", "-c", stage.SIZED + "id -u; echo ok > /dev/tty", image=USER, runtime=stage.runtime,
        flags=["--rm", "-t"]))


@scenario
def will_not_start(stage):
    stage.run("missing binary", "/no/such/program")
    stage.run("missing in PATH", "no-such-program")
    stage.run("not executable", "/bin/plain", image=NOT_EXECUTABLE)
    stage.run("no interpreter", "/bin/nointerpreter", image=NOT_EXECUTABLE)
    stage.run("not a program", "/bin/garbage", image=NOT_EXECUTABLE)
    stage.run("directory", "/tmp")
    stage.run("cwd is a file", "true", flags=["--cwd", "/etc/passwd"])
    stage.run("bad mount", "true",
              flags=["--mount", "type=bind,src=/no/such,dst=/mnt,options=rbind"])
    stage.run("detached", "/no/such/program", rm=False, flags=["-d", "--null-io"])
    stage.ctr("no task is left", "task", "ls")


@scenario
def memory_limit(stage):
    limit = ["--memory-limit", str(32 << 20)]
    # Not at once: containerd's own shim looks for such kills only from some time after the start on.
    greedy = ["sh", "-c", "sleep 0.5; exec dd if=/dev/zero of=/dev/null bs=64M count=1"]
    result = stage.node.run(stage.id, *greedy, runtime=stage.runtime, flags=limit, check=False)
    stage.note("killed", result.returncode)
    stage.wait_event("/tasks/oom")
    stage.start("sleep", "1000", flags=limit)
    stage.exec("exec killed", *greedy)
    stage.events.wait("/tasks/oom", container_id=stage.id, count=2)
    stage.status("container lives")


@scenario
def shared_pid_namespace(stage):
    """Without a pid namespace of its own a container's processes do not die with its first one."""
    result = stage.node.run(
        stage.id, "sh", "-c", "sleep 1000 & echo $!", runtime=stage.runtime,
        flags=["--with-ns", f"pid:/proc/{stage.node.pid}/ns/pid"])
    child = int(re.search(r"\d+", result.stdout).group())
    stage.note("child is gone", not stage.node.execute(
        ["sh", "-c", f"test -e /proc/{child}"], check=False).returncode == 0)


@scenario
def annotations_and_labels(stage):
    stage.run("annotation", "true", flags=["--annotation", "example.com/a=b", "--label", "c=d"])


@scenario
def seccomp(stage):
    stage.run("default profile", "sh", "-c", "unshare -m true; echo $?", flags=["--seccomp"])
    stage.run("privileged", "sh", "-c", "unshare -m true; echo $?", flags=["--privileged"])
