#!/usr/bin/python3
"""The library itself: nodes do not disturb each other or the machine, and nothing outlives them."""

import glob
import json
import os
import signal
import subprocess
import sys
import unittest

import harness
from harness import HANDLER, RUNTIME, Node, wait_until
from lib import network, paths, proc

# A user of a node who tells its name and then waits to be killed.
USER = f"""
import sys, time
sys.path.insert(0, {os.path.join(paths.ROOT, "scripts")!r})
from lib import Node
with Node() as node:
    node.start("c", "sleep", "1000", runtime={RUNTIME!r})
    node.ctr("task", "pause", "c")
    pod = node.cri.run_pod("pod", handler={HANDLER!r})
    print(node.name, flush=True)
    time.sleep(1000)
"""


def remains(name):
    """What of a node is still there: processes, files, cgroups."""
    marked = [pid for pid in proc.pids() if pid != os.getpid() and (
        name in proc.read(f"/proc/{pid}/cmdline")
        or f"SHUNT_NODE={name}" in proc.read(f"/proc/{pid}/environ"))]
    return [*marked, *glob.glob(f"/tmp/{name}*"), *glob.glob(f"/sys/fs/cgroup/*/{name}"),
            *glob.glob(f"/sys/fs/cgroup/{name}")]


class Nodes(unittest.TestCase):
    def end_by(self, number):
        with subprocess.Popen([sys.executable, "-B", "-c", USER], stdout=subprocess.PIPE,
                              text=True) as user:
            name = user.stdout.readline().strip()
            self.assertTrue(remains(name))
            user.send_signal(number)
            user.wait(30)
        wait_until(lambda: not remains(name), f"end of {name}", 30)

    def test_user_is_killed(self):
        self.end_by(signal.SIGKILL)

    def test_user_is_interrupted(self):
        self.end_by(signal.SIGINT)

    def test_user_is_terminated(self):
        self.end_by(signal.SIGTERM)

    def test_failure_inside(self):
        with self.assertRaises(ZeroDivisionError):
            with Node() as node:
                node.start("c", "sleep", "1000", runtime=RUNTIME)
                raise ZeroDivisionError
        self.assertEqual([], remains(node.name))

    def test_failure_to_start(self):
        with self.assertRaises(RuntimeError):
            with Node(path=["/no/such"]) as node:
                node.kill_containerd()
                with open(os.path.join(node.dir, "config.toml"), "w", encoding="ascii") as file:
                    file.write("nonsense")
                node.start_containerd()
        self.assertEqual([], remains(node.name))

    def test_machine_is_left_alone(self):
        with Node() as node:
            pod = node.cri.run_pod("pod", handler=HANDLER)
            node.cri.run_container(pod, "c", "sleep", "1000")
            # Seen from outside there is neither a mount, nor a bridge, nor a socket of it.
            self.assertEqual([], [path for path in proc.mounts("self") if node.name in path])
            self.assertFalse(os.path.exists("/sys/class/net/cni0"))
            hidden = node.traces()["sockets"]
            self.assertTrue(hidden)
            self.assertFalse(os.path.exists(f"/run/containerd/s/{hidden[0]}"))
        self.assertEqual([], remains(node.name))

    def test_two_nodes_on_one_network(self):
        with Node(subnet="198.18.1.0/24") as one, Node(subnet="198.18.2.0/24") as two:
            network.join(one, two)
            self.fetch_page(one, two)

    def test_two_nodes_with_an_overlay(self):
        with network.two_nodes() as (one, two):
            # Between the nodes there is no way for a pod's address but through the overlay.
            self.assertNotIn("198.18", two.execute(["ip", "route", "show", "dev", "eth0"]).stdout)
            self.fetch_page(one, two)
            shown = json.loads(two.execute(
                ["ip", "-j", "-s", "link", "show", network.VXLAN]).stdout)[0]
            self.assertGreater(shown["stats64"]["rx"]["packets"], 2)

    def fetch_page(self, one, two):
        """A pod of one node serves, a pod of the other asks."""
        pods = [node.cri.run_pod("pod", handler=HANDLER) for node in (one, two)]
        one.cri.run_container(
            pods[0], "server", "sh", "-c",
            "mkdir /www; echo page > /www/index.html; exec httpd -f -p 80 -h /www")
        client = two.cri.run_container(pods[1], "client", "sleep", "1000")
        url = f"http://{one.cri.pod_address(pods[0])}/"
        wait_until(lambda: two.cri.exec(client, "wget", "-q", "-O-", url).stdout == "page\n",
                   "page from the other node")


if __name__ == "__main__":
    harness.main()
