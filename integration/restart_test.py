#!/usr/bin/python3
"""Sudden deaths: containerd killed and started again, the shim killed."""

import os
import signal
import time

import harness
from harness import HANDLER, RUNTIME, wait_until
from lib import proc


def ticks(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


class ContainerdDies(harness.NodeTest):
    def restart(self, meanwhile=lambda: None):
        self.node.kill_containerd()
        meanwhile()
        self.node.start_containerd()

    def setUp(self):
        self.addCleanup(self.remove_all)

    def forgets_the_dead(self):
        """containerd 1.7 and newer remove a task without processes when they find it at their start,
        whatever shim it has; its exit status is lost then."""
        return self.node.containerd_version() >= (1, 7)

    def remove_all(self):
        for id in self.node.ctr("container", "ls", "-q").stdout.split():
            self.node.remove(id)
        self.assert_clean()

    def test_tasks_are_still_there(self):
        log = os.path.join(self.node.dir, "ticks")
        pid = self.node.start("c", "sh", "-c", "while :; do echo tick; sleep 0.05; done",
                              runtime=RUNTIME, flags=["--log-uri", f"file://{log}"])
        shim = self.node.shims()
        self.restart()
        self.assertEqual({"c": (pid, "RUNNING")}, self.node.tasks())
        self.assertEqual(shim, self.node.shims())
        self.assertEqual("works\n", self.node.exec("c", "echo", "works").stdout)
        size = ticks(log)
        wait_until(lambda: ticks(log) > size, "output after the restart")
        with self.node.events() as events:
            self.node.ctr("task", "pause", "c")
            self.node.ctr("task", "resume", "c")
            self.node.ctr("task", "kill", "-s", "KILL", "c")
            events.wait("/tasks/exit", container_id="c", exit_status=137)
            self.assertEqual(["/tasks/paused", "/tasks/resumed", "/tasks/exit"],
                             [event.topic for event in events.of("c")])

    def test_exit_meanwhile_is_reported(self):
        pid = self.node.start("c", "sleep", "1000", runtime=RUNTIME)
        stays = self.node.start("d", "sleep", "1000", runtime=RUNTIME)

        def kill():
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not proc.alive(pid), "end of the container")

        self.restart(kill)
        if self.forgets_the_dead():
            self.assertEqual({"d": (stays, "RUNNING")}, self.node.tasks())
            wait_until(lambda: len(self.node.shims()) == 1, "end of the shim of the other one")
            return
        # CRI's bookkeeping may collect what it finds; ctr's namespace is left alone.
        self.assertEqual({"c": (pid, "STOPPED"), "d": (stays, "RUNNING")}, self.node.tasks())
        answer = self.node.task_service.call("Wait", container_id="c")
        self.assertEqual(137, answer.exit_status)
        self.assertLess(abs(answer.exited_at.seconds - time.time()), 60)
        self.assertEqual(137, self.node.task_service.call("Delete", container_id="c").exit_status)

    def test_exec_that_ends_meanwhile(self):
        self.node.start("c", "sleep", "1000", runtime=RUNTIME)
        tasks = self.node.task_service
        tasks.exec("c", "x", ["sleep", "1000"])
        pid = tasks.call("Start", container_id="c", exec_id="x").pid
        self.restart(lambda: os.kill(pid, signal.SIGTERM))
        tasks = self.node.task_service
        for method in ("Wait", "DeleteProcess"):
            self.assertEqual(143, tasks.call(method, container_id="c", exec_id="x").exit_status)

    def test_repeated_restarts(self):
        self.node.start("c", "sleep", "1000", runtime=RUNTIME)
        shim = self.node.shim_of("c")
        before = len(proc.descriptors(shim))
        for _ in range(3):
            self.restart()
            self.assertEqual("works\n", self.node.exec("c", "echo", "works").stdout)
        wait_until(lambda: len(proc.descriptors(shim)) <= before,
                   f"return to {before} descriptors, open: {proc.descriptors(shim)}")

    def test_a_pod(self):
        pod = self.node.cri.run_pod("pod", handler=HANDLER)
        self.addCleanup(lambda: self.node.cri.remove_pod(pod))
        stays = self.node.cri.run_container(pod, "stays", "sleep", "1000")
        goes = self.node.cri.run_container(pod, "goes", "sleep", "1000")
        pid = self.node.cri.pid(goes)
        self.restart(lambda: os.kill(pid, signal.SIGKILL))
        cri = self.node.cri
        self.assertEqual(255 if self.forgets_the_dead() else 137, cri.wait_exit(goes).exit_code)
        self.assertEqual("works\n", cri.exec(stays, "echo", "works").stdout)


class ShimDies(harness.NodeTest):
    def setUp(self):
        self.addCleanup(self.node.remove, "c", check=False)

    def test_one_container(self):
        pid = self.node.start("c", "sh", "-c", "sleep 1000 & sleep 1000", runtime=RUNTIME)
        with self.node.events() as events:
            os.kill(self.node.shim_of("c"), signal.SIGKILL)
            events.wait("/tasks/exit", container_id="c", pid=pid, exit_status=137)
            events.wait("/tasks/delete", container_id="c")
        wait_until(lambda: not self.node.tasks(), "end of the task")
        self.assert_clean()
        # The container is there still, and can be started anew.
        self.node.ctr("task", "start", "-d", "--null-io", "c")
        self.assertEqual("works\n", self.node.exec("c", "echo", "works").stdout)
        self.node.remove("c")
        self.assert_clean()

    def test_with_execs_and_pause(self):
        self.node.start("c", "sleep", "1000", runtime=RUNTIME)
        tasks = self.node.task_service
        for number in range(3):
            tasks.exec("c", f"x{number}", ["sleep", "1000"])
            tasks.call("Start", container_id="c", exec_id=f"x{number}")
        self.node.ctr("task", "pause", "c")
        os.kill(self.node.shim_of("c"), signal.SIGKILL)
        wait_until(lambda: not self.node.tasks(), "end of the task", 20)
        self.assert_clean(20)
        self.node.remove("c")

    def test_a_pod(self):
        cri = self.node.cri
        pod = cri.run_pod("pod", handler=HANDLER)
        containers = [cri.run_container(pod, name, "sleep", "1000") for name in ("one", "two")]
        shim, = self.node.shims(RUNTIME)
        os.kill(shim, signal.SIGKILL)
        for container in containers:
            # 255 is containerd's own word: its Wait broke off before `delete` could tell it 137.
            self.assertIn(cri.wait_exit(container).exit_code, (137, 255))
        cri.remove_pod(pod)
        self.assert_clean()

    def test_while_containerd_is_away(self):
        self.node.start("c", "sleep", "1000", runtime=RUNTIME)
        shim = self.node.shim_of("c")
        self.node.kill_containerd()
        os.kill(shim, signal.SIGKILL)
        self.node.start_containerd()
        self.assertEqual({}, self.node.tasks())
        self.assert_clean()
        self.node.remove("c")

    def test_terminated_politely(self):
        """SIGTERM, as on a node that shuts down: shim and container end, nothing is left."""
        self.node.start("c", "sleep", "1000", runtime=RUNTIME)
        os.kill(self.node.shim_of("c"), signal.SIGTERM)
        wait_until(lambda: not self.node.tasks(), "end of the task", 20)
        self.assert_clean(20)
        self.node.remove("c")


if __name__ == "__main__":
    harness.main()
