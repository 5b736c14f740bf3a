#!/usr/bin/python3
"""What other files show between two pods of a node, between pods of two nodes: the guests, applications,
and every byte of many connections, over each fabric that needs no device. A few of them by default;
SHUNT_LONG=1: all, with 20,000 connections and 10 GB for each fabric. Whatever is named runs:
`across_nodes_test.py Applications_window.test_java`."""

import os
import tempfile
import unittest

import applications_test
import guests_test
import harness
import integrity_test
import short_lived_test
from harness import LONG
from lib import fabrics, network
from pods import PodTest, inspected, wait_until


WAIT = "100ms"  # other things may be going on here, too


def setUpModule():
    """Two nodes for all tests: what differs, a pod is told by its configuration."""
    folder = unittest.enterModuleContext(tempfile.TemporaryDirectory(prefix="shunt-across-"))
    AcrossNodes.memory = fabrics.shared_directory(folder)
    AcrossNodes.nodes = unittest.enterModuleContext(network.two_nodes())
    for node in AcrossNodes.nodes:
        node.image("busybox")


class AcrossNodes:
    """Before a test case of one node: gives it a second one for its clients, and a fabric."""

    fabric = None

    @classmethod
    def setUpClass(cls):
        cls.node, cls.client_node = cls.nodes
        cls.fabric_config = fabrics.configuration(cls.fabric, cls.memory, WAIT)
        cls.configs = cls.fabric_config, cls.fabric_config


class Guests(AcrossNodes, guests_test.Guests):
    differing_anyway = ("containers", "routed")
    test_pairs_of_kind_unix = test_pairs_of_kind_tcp = test_in_one_pod = None

    def setUp(self):
        super().setUp()
        if not os.path.exists(os.path.join(guests_test.GUESTS, "echo_blocking")):
            self.skipTest("the guests are not built (a sanitizer build)")

    def test_guests(self):
        self.apart(self.fabric, self.fabric_config)


class GuestsOnKernelPath(Guests):
    """With no fabric allowed, what programs see is the kernel's own TCP."""

    @classmethod
    def setUpClass(cls):
        cls.node, cls.client_node = cls.nodes

    def test_guests(self):
        self.apart(None, {"fabrics": {"enabled": []}})

    def check_paths(self, paths, guests):
        # Some guests connect within their pod, too.
        self.assertGreater(paths["no-local-pod"], guests)
        self.assertLess(paths.get("upgraded", 0), guests)


class Inspected(AcrossNodes, PodTest):
    fabric = "host"

    def test_bytes_that_nobody_has_read(self):
        """They lie in a socket of the node, and are shown all the same."""
        pair = self.pair(configs=self.configs)
        pair.serve("deaf", "nc", "-ll", "-p", "80", "-e", "sleep", "1000", image="busybox")
        pair.wait_port(80)
        started = []

        def seen():
            # The first connection may be the kernel's own.
            if len(started) < 5:
                started.append(self.client_node.cri.run_container(
                    pair.client, f"talker-{len(started)}", "sh", "-c",
                    f"(echo hello; sleep 1000) | nc {pair.address} 80", image="busybox"))
            shown, = inspected(self.node, pair.server.id)
            unread = [each["unread_bytes"] for each in shown["connections"] if each["fabric"] == "host"]
            return None if 0 in unread else unread  # the bytes of some may be on their way

        self.assertEqual({len("hello\n")}, set(wait_until(seen, "bytes over host", 30, interval=0.5)))


class ShortLived(AcrossNodes, short_lived_test.ShortLived):
    fabric = "host"


class Integrity(AcrossNodes, integrity_test.Integrity):
    for _name in dir(integrity_test.Integrity):
        if _name.startswith("test_"):
            vars()[_name] = None
    amounts = {
        "undisturbed": (20000, 10000) if LONG else (1500, 600),
        "processes killed": (10000, 3000) if LONG else (1000, 300),
        "pods restarted": (3000, 1000) if LONG else (500, 200),
    }

    def configuration(self, kind):
        return {**self.fabric_config, **applications_test.Applications.every}

    def test_undisturbed(self):
        self.check("undisturbed", self.fabric)

    def test_processes_killed(self):
        self.check("processes killed", self.fabric)

    def test_pods_restarted(self):
        self.check("pods restarted", self.fabric)


class Applications(AcrossNodes, applications_test.Applications):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.configs = ({**cls.fabric_config, **cls.every},) * 2
        # An answer from the other node may be late, too. Connections made ahead may have run out, and
        # nobody waits long for more; other fabrics have no such reason.
        cls.late = {*applications_test.LATE, "peer-silent",
                    *({"fabric-full"} if cls.fabric == "host" else ())}


def _over_each_fabric():
    """Every case over every fabric; named here, so that one can be asked for by its name."""
    for fabric in ("host", "window"):
        for case in (Applications, Integrity, Guests):
            made = type(f"{case.__name__}_{fabric}", (case,), {"fabric": fabric})
            globals()[made.__name__] = made
            yield made


_CASES = [*_over_each_fabric(), GuestsOnKernelPath, Inspected, ShortLived]
_SHORT = {"test_redis", "test_nginx_and_curl", "test_processes_killed",
          "test_bytes_that_nobody_has_read", "test_left_to_the_kernel_until_one_is_kept"}


def load_tests(loader, *_):
    """Those of a run in which no test is named."""
    tests = (test for case in _CASES for test in loader.loadTestsFromTestCase(case))
    return unittest.TestSuite(
        test for test in tests if LONG or test.id().rsplit(".", 1)[1] in _SHORT)


if __name__ == "__main__":
    harness.main()
