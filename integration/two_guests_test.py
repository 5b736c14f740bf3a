#!/usr/bin/python3
"""Two machines with RDMA devices, a containerd and a pod on each: redis and iperf3 between them."""

import time
import unittest

import harness
from lib import apps, fabrics, network, paths
from lib.demo_rdma import WAIT, two_guest_nodes
from lib.pair import PodPair

# Emulated, everything takes ten times as long; what is asserted is what happens, not when.
REQUESTS = 50


class TwoGuests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.one, cls.two = cls.enterClassContext(two_guest_nodes(paths.build_dir()))

    def counter(self, path):
        return int(self.two.execute(["cat", path]).stdout)

    def talk(self, config):
        """Lets the applications run; how many packets of RDMA and bytes of the overlay that took at
        the client's side, and which ways the connections went."""
        counters = ("/sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts",
                    f"/sys/class/net/{network.VXLAN}/statistics/tx_bytes")
        with PodPair(self.one, "shunt", (config, config), client_node=self.two) as pair:
            apps.serve(pair, "redis", "iperf3")
            before = [self.counter(path) for path in counters]
            figures = apps.measure(pair, "redis", "iperf3", requests=REQUESTS)
            self.assertTrue(all(figure > 0 for figure in figures.values()), figures)
            sent = [self.counter(path) - then for path, then in zip(counters, before)]
            return *sent, fabrics.paths_taken(pair)

    def test_kernel_path(self):
        packets, octets, ways = self.talk({"fabrics": {"enabled": []}})
        self.assertEqual(0, packets)
        self.assertGreater(octets, 1 << 20)
        self.assertFalse(fabrics.FAST & set(ways))

    def test_verbs(self):
        packets, octets, ways = self.talk(fabrics.configuration("verbs", wait=WAIT))
        print(f"\nRDMA packets sent {packets}, bytes into the overlay {octets}, connections {ways}")
        # Of some 105; how many packets more depends on how far iperf3 comes in its time.
        self.assertGreater(ways["over-verbs"], 80)
        self.assertGreater(packets, 4 * ways["over-verbs"])
        # What is left for the overlay is the setting up.
        self.assertLess(octets, 1 << 20)

    def test_link_goes_down(self):
        """For longer than the shims bear: streams are reset, and later ones go over verbs again."""
        config = fabrics.configuration("verbs", wait=WAIT)
        with PodPair(self.one, "shunt", (config, config), client_node=self.two) as pair:
            apps.serve(pair, "redis")

            def goes_over_verbs(more_than):
                apps.redis(pair, 1, 10)
                return fabrics.paths_taken(pair).get("over-verbs", 0) > more_than

            # The first ones may come before the link is up.
            self.assertTrue(self.until(lambda: goes_over_verbs(2), 60), fabrics.paths_taken(pair))
            before = fabrics.paths_taken(pair)["over-verbs"]
            # Waits for what never comes, until its connection is no more.
            pair.call("redis", "sh", "-c", f"(sleep 1000 | (nc {pair.address} 6379; echo over)) "
                                           "</dev/null >/tmp/waiting 2>&1 &")
            self.two.execute(["ip", "link", "set", "eth0", "down"])
            over = self.until(lambda: "over" in pair.call("redis", "cat", "/tmp/waiting"), 40)
            self.two.execute(["ip", "link", "set", "eth0", "up"])
            self.assertTrue(over)
            self.assertTrue(self.until(lambda: goes_over_verbs(before + 3), 60),
                            fabrics.paths_taken(pair))
            print(f"\nbefore {before} connections over verbs, afterwards {fabrics.paths_taken(pair)}")

    @staticmethod
    def until(predicate, seconds):
        end = time.monotonic() + seconds
        while not predicate():
            if time.monotonic() > end:
                return False
            time.sleep(0.5)
        return True


if __name__ == "__main__":
    harness.main(harness.guest_obstacle, long=True)
