#!/usr/bin/python3
"""A server to which only clients outside Shunt come, one after the other and often: its accepts are left to
the kernel, until a Shunt pod comes (sandbox/left_to_kernel.h). Whoever connects when, the bytes are
right."""

import contextlib
import json

import harness
from pods import DIAL, PodTest, wait_until

PORT = 7400
GATEWAY = "198.18.0.1"  # the node, as pods see it


class Strangers(PodTest):
    def setUp(self):
        super().setUp()
        self.pods, self.outside = self.pair(), self.pair("runc")
        self.came = 0  # connections of Shunt's client so far
        self.port = PORT
        self.serve(self.pods, self.port)

    def another_listener(self):
        self.port += 1
        self.serve(self.pods, self.port, f"server-{self.port}")

    @contextlib.contextmanager
    def strangers(self, name):
        """A runc pod's client that connects again and again meanwhile, and never sees anything wrong."""
        client = self.cri.run_container(
            self.outside.client, name, "python3", "/dial.py", "dial", self.pods.address, str(self.port),
            "--count", "1000000", image=DIAL)
        wait_until(client.log, "first stranger", 30)
        yield client
        self.cri.stop_container(client, grace=0)
        said = [text for _, text in client.log()][:-1]  # it was killed, perhaps in the middle of a line
        self.right([json.loads(line) for line in said], self.outside)
        self.assertGreater(len(said), 64)

    def right(self, said, pair):
        address = self.cri.pod_address(pair.client)
        for each in said:
            self.assertIsNone(each["error"])
            self.assertRegex(each["answer"], rf"^server\S* {address}$")

    def left_to_kernel(self):
        return self.paths(self.pods.server).get("accepted-by-kernel", 0)

    def wait_until_left(self):
        """Until the kernel accepts now: calls have been left to it since we began to look."""
        before = self.left_to_kernel()
        wait_until(lambda: self.left_to_kernel() > before + 20, "accepts left to the kernel", 60)

    def come(self, count=1):
        """Connections of Shunt's client, one after the other; how they went."""
        before = self.paths(self.pods.client)
        self.right(self.dial(self.pods, self.pods.address, self.port, "--count", count), self.pods)
        self.came += count
        after = self.paths(self.pods.client)
        self.assertEqual(self.came, sum(after.values()))
        return {path: after[path] - before.get(path, 0) for path in after
                if after[path] != before.get(path, 0)}

    def come_until_fast(self):
        """Each connection that is not fast says why, and asks for the next one."""
        slow = 0
        while (how := self.come()) != {"upgraded": 1}:
            slow += 1
            self.assertIn(how, ({"left-to-kernel": 1}, {"server-went-ahead": 1}))
            self.assertLess(slow, 5)
        return slow

    def test_a_pod_comes_to_a_server_of_strangers(self):
        # On a busy machine nobody may come for a while, and the server looks at its clients again by itself.
        for attempt in range(5):
            with self.strangers(f"some-{attempt}"):
                self.wait_until_left()
                if self.come() != {"left-to-kernel": 1}:
                    self.another_listener()
                    continue
                self.come_until_fast()
                # For a minute nothing is left to the kernel any more, however many strangers there are.
                left = self.left_to_kernel()
                self.assert_upgraded(50, self.come(50))
                self.assertEqual(left, self.left_to_kernel())
            self.assert_upgraded(10, self.come(10))
            return
        self.fail("each time the server looked at its clients when ours came")

    def test_strangers_from_the_node(self):
        """As a kubelet or a load balancer that connects directly."""
        argv = ["/usr/bin/python3", "-B", harness.__file__.replace("harness", "dial"), "dial",
                self.pods.address, str(PORT), "--count", "500"]

        def dialled():
            said = [json.loads(line) for line in self.node.execute(argv).stdout.splitlines()]
            self.assertEqual([(None, f"server {GATEWAY}")] * 500,
                             [(each["error"], each["answer"]) for each in said])
            return self.left_to_kernel()

        wait_until(dialled, "accepts left to the kernel", 60)

    def test_another_server_takes_over(self):
        """What was said of a listener ends with it."""
        with self.strangers("some"):
            self.wait_until_left()
            self.assertEqual({}, self.paths(self.pods.client))
        server, = self.pods.server.containers
        self.cri.stop_container(server, grace=0)
        self.cri.run_container(self.pods.server, "again", "python3", "/dial.py", "serve", str(PORT),
                               "server", image=DIAL)
        self.pods.wait_port(PORT)
        self.assertEqual(0, self.come_until_fast())


if __name__ == "__main__":
    harness.main()
