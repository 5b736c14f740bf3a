#!/usr/bin/python3
"""A program that makes one connection after the other and keeps none: they are left to the kernel, and so
are its server's accepts. One that is kept is fast again (sandbox/short_lived.h). Whatever happens to a
connection, its bytes are right."""

import os

import harness
from lib import programs
from pods import FAST, Image, PodTest, wait_until

PORT = 7600
_SOURCE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "measure", "short_lived.c")
# Why the first ones after that stay on TCP.
IN_VAIN = {"left-to-kernel", "server-went-ahead", "peer-refused"}


class ShortLived(PodTest):
    configs = (None, None)

    def start(self, configs):
        self.image = Image("short-lived", files=(("/usr/bin/short_lived", 0o755,
                                                  programs.contents(_SOURCE)),))
        self.pods = self.pair(configs=configs)
        self.pods.serve("server", "short_lived", "serve", str(PORT), image=self.image)
        self.pods.wait_port(PORT)
        self.pods.client_container(self.image)

    def connects(self, count=2000):
        """So many connections, each of which must be right; how they went."""
        before = self.paths(self.pods.client)
        self.pods.call(self.image, "short_lived", "connect", self.pods.address, str(PORT), str(count))
        after = self.paths(self.pods.client)
        made = {path: n - before.get(path, 0) for path, n in after.items() if n != before.get(path, 0)}
        self.assertEqual(count, sum(made.values()), made)
        return made

    def keep(self, number):
        """One that is kept: the path it took."""
        before = self.paths(self.pods.client)
        client = self.pods.run_client(f"keeper-{number}", "short_lived", "keep", self.pods.address,
                                      str(PORT), image=self.image)
        wait_until(client.log, "a kept connection", 30)
        after = self.paths(self.pods.client)
        path, = (path for path, n in after.items() if n != before.get(path, 0))
        self.client_node.cri.stop_container(client, grace=0)
        return path

    def test_left_to_the_kernel_until_one_is_kept(self):
        self.start(self.configs)
        # On a busy machine they may follow one another too slowly at first.
        wait_until(lambda: self.connects().get("short-lived", 0) > 1000, "connections of short life", 60)
        wait_until(lambda: self.connects() and
                   self.paths(self.pods.server).get("accepted-by-kernel", 0) > 1000,
                   "accepts left to the kernel", 60)
        taken = []
        while not taken or taken[-1] not in FAST:
            taken.append(self.keep(len(taken)))
            self.assertIn(taken[-1], {*FAST, *IN_VAIN})
            self.assertLess(len(taken), 6, taken)

    def test_each_is_upgraded_if_so_configured(self):
        self.start([{**(config or {}), "upgrade": {"short_lived": "upgrade"}} for config in self.configs])
        made = self.connects(1000)
        self.assertNotIn("short-lived", made)
        self.assertGreater(sum(made.get(path, 0) for path in FAST), 950)


if __name__ == "__main__":
    harness.main()
