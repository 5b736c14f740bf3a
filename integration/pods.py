"""What tests with two pods share: a pair of pods, small programs in them, and what Shunt says of
their connections.

The programs are dial.py below, in an image with Debian's Python: `serve` answers every connection
with its name and the client's address as it sees it and then echoes; `dial` says how connecting went.
"""

import dataclasses
import json
import os

import harness
from lib import IMAGES, fabrics, proc
from lib.images import Image
from lib.node import wait_until
from lib.pair import PodPair, inspected, run_pod

with open(os.path.join(os.path.dirname(os.path.realpath(__file__)), "dial.py"),
          encoding="utf-8") as _file:
    DIAL = dataclasses.replace(IMAGES["python"], name="dial",
                               files=(("/dial.py", 0o755, _file.read()),))

ACCEPTED_FAST = {"accepted-fast", "accepted-over-fabric"}
# No reason to stay on the kernel path: the figures that a client and a server may show.
FAST = {*fabrics.FAST, *ACCEPTED_FAST}
# Bounded waits that a busy machine may exceed, now and then: what clients say of them, and servers.
LATE = {"slow-handshake", "server-went-ahead"}
ACCEPTED_LATE = {"accepted-kernel", "accepted-in-vain"}

__all__ = ["ACCEPTED_FAST", "ACCEPTED_LATE", "DIAL", "FAST", "LATE", "Image", "PodPair", "PodTest",
           "inspected", "wait_until"]


class PodTest(harness.NodeTest):
    def setUp(self):
        self.cri = self.node.cri
        self.addCleanup(self.assert_clean, 20)

    def pair(self, handler="shunt", **kwargs):
        """Two pods that last as long as the test."""
        return self.enterContext(
            PodPair(self.node, handler, client_node=self.client_node, **kwargs))

    def pod(self, name, handler="shunt", node=None, config=None, **kwargs):
        """A pod that lasts as long as the test, on the servers' node if no other is named."""
        node = node or self.node
        pod = run_pod(node, name, config, handler=handler, **kwargs)
        self.addCleanup(node.cri.remove_pod, pod)
        return pod

    def serve(self, pair, port, name="server", *options):
        """dial.py's server in the pair's server pod, ready."""
        pair.serve(name, "python3", "/dial.py", "serve", str(port), name, *options, image=DIAL)
        pair.wait_port(port)

    def dial(self, pair, address, port, *options, timeout=60):
        """What dial.py's client says: a list, one dict a connection."""
        text = pair.call(DIAL, "python3", "/dial.py", "dial", address, str(port),
                         *map(str, options), timeout=timeout)
        return [json.loads(line) for line in text.splitlines()]

    def paths(self, pod):
        """{why connections of a pod went as they did: how many}, without zeros."""
        shown, = inspected(pod.node, pod.id)
        return {row["path"]: row["count"] for row in shown["paths"] if row["count"]}

    def assert_upgraded(self, count, paths):
        """So many connections of a client, and all were upgraded, but for a few that were late."""
        late = sum(paths.get(path, 0) for path in LATE)
        self.assertEqual({"upgraded": count - late},
                         {path: n for path, n in paths.items() if path not in LATE}, paths)
        self.assertLessEqual(late, count // 10, paths)

    def in_pod(self, pod, *argv, **kwargs):
        """Runs a command of this machine in a pod's network namespace."""
        import subprocess

        argv = ["/usr/bin/nsenter", f"--net=/proc/{pod.node.cri.pid(pod)}/ns/net", "--", *argv]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True,
                              env=pod.node.env(), **kwargs).stdout

    def shim_of(self, pod):
        parents, pid, shims = proc.parents(), pod.node.cri.pid(pod), set(pod.node.shims())
        while pid and pid not in shims:
            pid = parents.get(pid, 0)
        return pid
