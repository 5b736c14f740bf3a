"""What the integration tests share: finding the library, skipping, and running a file's tests.

A test file defines unittest cases and ends with `harness.main()`. Exit status 77 means skipped, with
the reason as the last line. Environment: SHUNT_BUILD, the build under test; SHUNT_QUICK=1, smaller
numbers; SHUNT_LONG=1, all that is promised, which takes long; SHUNT_TEST_RUNTIME=io.containerd.runc.v2,
run the tests against containerd's own shim, to see whether an expectation is containerd's or ours.
"""

import os
import shutil
import signal
import sys
import unittest

sys.dont_write_bytecode = True
_HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(_HERE), "scripts"))

from lib import RUNC, SHUNT, Node, paths  # noqa: E402
from lib.node import wait_until  # noqa: E402

QUICK = os.environ.get("SHUNT_QUICK") == "1"
LONG = os.environ.get("SHUNT_LONG") == "1"
RUNTIME = os.environ.get("SHUNT_TEST_RUNTIME", SHUNT)
HANDLER = "shunt" if RUNTIME == SHUNT else "runc"

__all__ = ["HANDLER", "LONG", "QUICK", "RUNC", "RUNTIME", "SHUNT", "Node", "NodeTest",
           "guest_obstacle", "main", "wait_until"]


class NodeTest(unittest.TestCase):
    """Test cases that share one node per class: `self.node`. Every test must leave it empty. Where
    clients are: `self.client_node`, the same one unless a class makes two."""

    node_arguments = {}

    @classmethod
    def setUpClass(cls):
        cls.node = cls.client_node = cls.enterClassContext(Node(**cls.node_arguments))
        cls.node.image("busybox")

    @classmethod
    def tearDownClass(cls):
        reports = [report for node in {cls.node, cls.client_node}
                   for report in node.sanitizer_reports()]
        if reports:
            raise AssertionError("\n".join(["reported by sanitizers:", *reports]))

    def assert_clean(self, timeout=10):
        """Nothing of any container or shim is left on the node; waits for what ends by itself."""
        def left():
            return {kind: [len(things), *things[:3]] for node in {self.node, self.client_node}
                    for kind, things in node.traces().items() if things}

        try:
            wait_until(lambda: not left(), "end of the traces", timeout)
        except TimeoutError:
            self.fail(f"left behind: {left()}")


def _obstacle():
    """Why nothing can be run here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("containerd", "ctr", "runc", "busybox", "protoc"):
        if not shutil.which(program, path=paths.search_path()):
            return f"{program} is not installed (scripts/deps)"
    if RUNTIME == SHUNT and not os.path.exists(paths.shim_binary()):
        return f"{paths.shim_binary()} is not built"
    return None


def guest_obstacle():
    """Why scripts/rdma-guest cannot be used here, or None."""
    for program in ("qemu-system-x86_64", "ib_write_lat", "rping", "modprobe"):
        if not shutil.which(program, path=paths.search_path()):
            return f"{program} is not installed (scripts/deps)"
    return None


def main(obstacle=_obstacle, long=False):
    """Runs the file's tests unless `obstacle()` names a reason why they cannot be run here. `long`: they
    take too many minutes for every run."""
    reason = obstacle()
    if long and not LONG:
        reason = reason or "it takes many minutes; SHUNT_LONG=1 runs it"
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    if RUNTIME == SHUNT:
        print(f"shim under test: {paths.shim_binary()}", flush=True)
    # unittest takes SystemExit for an error of the test and goes on; an interrupt ends it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    unittest.main(verbosity=2)
