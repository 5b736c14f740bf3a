#!/usr/bin/python3
"""Pods through containerd's CRI plugin, as kubelet makes them, with the runtime handler `shunt`."""

import os

import grpc
import harness
from harness import HANDLER, RUNTIME, wait_until
from lib import proc


class Pods(harness.NodeTest):
    def setUp(self):
        self.cri = self.node.cri
        self.cri.image("busybox")
        self.addCleanup(self.assert_clean)  # the last of the cleanups

    def pod(self, name, **kwargs):
        pod = self.cri.run_pod(name, handler=HANDLER, **kwargs)
        self.addCleanup(self.remove, pod)
        return pod

    def remove(self, pod):
        try:
            self.cri.remove_pod(pod)
        except grpc.RpcError as error:  # gone already
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise

    def test_two_containers_in_one_shim(self):
        pod = self.pod("pair")
        one = self.cri.run_container(pod, "one", "sh", "-c",
                                     "echo to stdout; echo to stderr >&2; exec sleep 1000")
        two = self.cri.run_container(pod, "two", "sleep", "1000")
        shims = self.node.shims(RUNTIME)
        self.assertEqual(1, len(shims), "one shim process for the pod")
        for member in (pod, one, two):
            parents, pid = proc.parents(), self.cri.pid(member)
            self.assertEqual(shims[0], parents[pid])
        self.assertEqual("pair\n", self.cri.exec(one, "hostname").stdout)
        self.assertEqual(3, self.cri.exec(two, "sh", "-c", "exit 3").exit_code)
        both = self.cri.exec(two, "sh", "-c", "echo out; echo err >&2")
        self.assertEqual(("out\n", "err\n"), (both.stdout, both.stderr))
        wait_until(lambda: len(one.log()) == 2, "log of the container")
        self.assertEqual({("stdout", "to stdout"), ("stderr", "to stderr")}, set(one.log()))
        # The pod's network is shared: one serves, the other asks, by localhost and the pod's address.
        self.cri.exec(one, "sh", "-c",
                      "mkdir -p /www; echo page > /www/index.html; httpd -p 80 -h /www")
        for host in ("127.0.0.1", self.cri.pod_address(pod)):
            answer = self.cri.exec(two, "wget", "-q", "-O-", f"http://{host}/")
            self.assertEqual("page\n", answer.stdout)

    def test_stats(self):
        pod = self.pod("stats")
        container = self.cri.run_container(pod, "busy", "sh", "-c", "while :; do :; done",
                                           memory=64 << 20)
        first = self.cri.stats(container)
        self.assertGreater(first.memory.usage_bytes.value, 4096)
        wait_until(lambda: self.cri.stats(container).cpu.usage_core_nano_seconds.value
                   > first.cpu.usage_core_nano_seconds.value, "use of the CPU", 20)
        request = self.cri.messages.PodSandboxStatsRequest(pod_sandbox_id=pod.id)
        pod_stats = self.cri.runtime.PodSandboxStats(request, timeout=20).stats
        self.assertEqual(1, len(pod_stats.linux.containers))

    def test_exit_and_restart_of_a_container(self):
        pod = self.pod("restart")
        first = self.cri.run_container(pod, "one", "sh", "-c", "echo first; exit 7")
        self.assertEqual(7, self.cri.wait_exit(first).exit_code)
        self.cri.remove_container(first)
        second = self.cri.run_container(pod, "one", "sleep", "1000")
        self.assertEqual("", self.cri.exec(second, "true").stdout)
        self.cri.stop_container(second, grace=0)
        self.assertEqual(137, self.cri.status(second).exit_code)

    def test_stop_gives_time(self):
        pod = self.pod("polite")
        container = self.cri.run_container(
            pod, "polite", "sh", "-c",
            "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.1; done")
        wait_until(lambda: container.log(), "line of the container")
        self.cri.stop_container(container, grace=20)
        self.assertEqual(5, self.cri.status(container).exit_code)
        self.assertEqual([("stdout", "ready"), ("stdout", "bye")], container.log())

    def test_log_is_reopened(self):
        pod = self.pod("logs")
        container = self.cri.run_container(pod, "talker", "sh", "-c",
                                           "while :; do echo tick; sleep 0.05; done")
        wait_until(lambda: container.log(), "first line")
        os.rename(container.log_path, container.log_path + ".1")
        request = self.cri.messages.ReopenContainerLogRequest(container_id=container.id)
        self.cri.runtime.ReopenContainerLog(request, timeout=20)
        wait_until(lambda: container.log(), "line in the new log")

    def test_exec_with_a_time_limit(self):
        pod = self.pod("limit")
        container = self.cri.run_container(pod, "one", "sleep", "1000")
        with self.assertRaises(grpc.RpcError) as caught:
            self.cri.exec(container, "sleep", "1000", timeout=1)
        self.assertEqual(grpc.StatusCode.DEADLINE_EXCEEDED, caught.exception.code())
        self.assertEqual("alive\n", self.cri.exec(container, "echo", "alive").stdout)

    def test_out_of_memory(self):
        pod = self.pod("greedy")
        container = self.cri.run_container(
            pod, "greedy", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1",
            memory=32 << 20)
        self.assertEqual(137, self.cri.wait_exit(container).exit_code)
        # The event of the kill and the exit take different ways to CRI.
        wait_until(lambda: self.cri.status(container).reason == "OOMKilled", "reason OOMKilled")

    def test_program_that_does_not_exist(self):
        pod = self.pod("missing")
        container = self.cri.create_container(pod, "missing", "/no/such/program")
        with self.assertRaises(grpc.RpcError) as caught:
            self.cri.start_container(container)
        self.assertIn("no such file or directory", caught.exception.details())
        self.assertEqual(self.cri.messages.CONTAINER_EXITED, self.cri.status(container).state)

    def test_update_of_resources(self):
        pod = self.pod("update")
        container = self.cri.run_container(pod, "one", "sleep", "1000", memory=64 << 20)
        request = self.cri.messages.UpdateContainerResourcesRequest(container_id=container.id)
        request.linux.memory_limit_in_bytes = 32 << 20
        self.cri.runtime.UpdateContainerResources(request, timeout=20)
        # In one hierarchy (cgroup v2), or in that of the controller.
        self.assertEqual(f"{32 << 20}\n", self.cri.exec(
            container, "sh", "-c", "cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes"
        ).stdout)

    def test_shared_processes(self):
        """One pid namespace for the pod: the containers see each other, and end one by one."""
        pod = self.pod("shared", share_processes=True)
        one = self.cri.run_container(pod, "one", "sleep", "1111")
        two = self.cri.run_container(pod, "two", "sleep", "2222")
        self.assertIn("sleep 1111", self.cri.exec(two, "ps").stdout)
        self.cri.stop_container(one, grace=0)
        processes = self.cri.exec(two, "ps").stdout
        self.assertIn("sleep 2222", processes)
        self.assertNotIn("sleep 1111", processes)

    def test_two_pods_are_two_shims(self):
        one, two = self.pod("one"), self.pod("two")
        self.assertEqual(2, len(self.node.shims(RUNTIME)))
        container = self.cri.run_container(two, "c", "sleep", "1000")
        self.cri.remove_pod(one)
        self.assertEqual("alive\n", self.cri.exec(container, "echo", "alive").stdout)
        wait_until(lambda: len(self.node.shims(RUNTIME)) == 1, "end of the first pod's shim")

    def test_pod_is_removed_with_everything_in_it(self):
        pod = self.pod("full")
        for name in ("one", "two", "three"):
            self.cri.run_container(pod, name, "sleep", "1000")
        self.cri.remove_pod(pod)
        self.assertEqual(0, len(self.cri.list_containers()))

    def test_users_and_read_only_root(self):
        pod = self.pod("user")
        container = self.cri.run_container(pod, "one", "sleep", "1000", user=1000, read_only=True)
        self.assertIn("uid=1000", self.cri.exec(container, "id").stdout)
        self.assertIn("Read-only", self.cri.exec(container, "touch", "/tmp/x").stderr)

    def test_host_network(self):
        pod = self.pod("host", host_network=True)
        container = self.cri.run_container(pod, "one", "sleep", "1000")
        self.assertIn("cni0", self.cri.exec(container, "ip", "link").stdout)


if __name__ == "__main__":
    harness.main()
