"""Answers to what makes no sense, by containerd's task service."""

from .stage import scenario


@scenario
def unknown_things(stage):
    stage.start("sleep", "1000")
    stage.call("get", "Get", exec_id="nobody")
    stage.call("kill", "Kill", exec_id="nobody", signal=9)
    stage.call("wait", "Wait", exec_id="nobody")
    stage.call("delete", "DeleteProcess", exec_id="nobody")
    stage.call("close", "CloseIO", exec_id="nobody", stdin=True)
    stage.call("resize", "ResizePty", exec_id="nobody", width=1, height=1)
    stage.call("start", "Start", exec_id="nobody")
    stage.call("exec with the container's id", "exec", stage.id, ["true"])
    stage.call("exec with an odd id", "exec", "../x", ["true"])
    stage.call("exec without program", "exec", "y", [])
    stage.call("start without program", "Start", exec_id="y")
    stage.call("resize of the container", "ResizePty", width=1, height=1)
    stage.call("close of the container", "CloseIO", stdin=True)
    stage.exec("still works", "echo", "yes")


@scenario
def checkpoint(stage):
    stage.start("sleep", "1000")
    stage.call("checkpoint", "Checkpoint")
    stage.exec("still works", "echo", "yes")
