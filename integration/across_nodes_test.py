#!/usr/bin/python3
"""What other files show between two pods of a node, between pods of two nodes: the guests, applications,
and every byte of many connections, over each fabric that the build has. SHUNT_LONG=1: all of it, with
20,000 connections and 10 GB for each fabric."""

import os
import tempfile
import unittest

import applications_test
import guests_test
import harness
import integrity_test
from harness import LONG
from lib import fabrics, network


class AcrossNodes:
    """Before a test case of one node: gives it a second one for its clients, and a fabric."""

    fabric = None

    @classmethod
    def setUpClass(cls):
        folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="shunt-across-"))
        cls.node, cls.client_node = cls.enterClassContext(network.two_nodes())
        offered = fabrics.offered(cls.node, cls.client_node, fabrics.shared_directory(folder),
                                  (cls.fabric,))
        if not offered:
            raise unittest.SkipTest(f"this build carries no connections over {cls.fabric}")
        cls.fabric_config = offered[cls.fabric]
        cls.configs = cls.fabric_config, cls.fabric_config


class Guests(AcrossNodes, guests_test.Guests):
    differing_anyway = ("containers", "routed")
    test_pairs_of_kind_unix = test_pairs_of_kind_tcp = test_in_one_pod = None

    def test_guests(self):
        self.apart(self.fabric, self.fabric_config)


class GuestsOnKernelPath(Guests):
    """With no fabric allowed, what programs see is the kernel's own TCP."""

    @classmethod
    def setUpClass(cls):
        cls.node, cls.client_node = cls.enterClassContext(network.two_nodes())

    def test_guests(self):
        self.apart(None, {"fabrics": {"enabled": []}})

    def check_paths(self, paths, guests):
        # Some guests connect within their pod, too.
        self.assertGreater(paths["no-local-pod"], guests)
        self.assertLess(paths.get("upgraded", 0), guests)


class Integrity(AcrossNodes, integrity_test.Integrity):
    for _name in dir(integrity_test.Integrity):
        if _name.startswith("test_"):
            vars()[_name] = None
    amounts = {
        "undisturbed": (20000, 10000) if LONG else integrity_test.AMOUNTS["undisturbed"],
        "processes killed": (10000, 3000) if LONG else integrity_test.AMOUNTS["processes killed"],
        "pods restarted": (3000, 1000) if LONG else integrity_test.AMOUNTS["pods restarted"],
    }

    def configuration(self, kind):
        return self.fabric_config

    def test_undisturbed(self):
        self.check("undisturbed", self.fabric)

    def test_processes_killed(self):
        self.check("processes killed", self.fabric)

    def test_pods_restarted(self):
        self.check("pods restarted", self.fabric)


class Applications(AcrossNodes, applications_test.Applications):
    if not LONG:
        for _name in dir(applications_test.Applications):
            if _name.startswith("test_") and _name not in (
                    "test_redis", "test_nginx_and_curl", "test_haproxy", "test_postgresql"):
                vars()[_name] = None


def _over_each_fabric():
    """Every case over every fabric; named here, so that one can be asked for by its name."""
    for fabric in ("host", "window"):
        for case in (Guests, Integrity, Applications):
            made = type(f"{case.__name__}_{fabric}", (case,), {"fabric": fabric})
            globals()[made.__name__] = made
            yield made


_CASES = [GuestsOnKernelPath, *_over_each_fabric()]


def load_tests(loader, *_):
    return unittest.TestSuite(map(loader.loadTestsFromTestCase, _CASES))


if __name__ == "__main__":
    if not os.path.exists(os.path.join(guests_test.GUESTS, "echo_blocking")):
        print("skipped: the guests are not built (a sanitizer build)")
        raise SystemExit(77)
    harness.main(long=True)
