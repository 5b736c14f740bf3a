#!/usr/bin/python3
"""What has to do with cgroups, on a machine with cgroup version 2 alone: the tests of other files that
are about it, run in a guest (scripts/rdma-guest)."""

import os
import subprocess
import unittest

import harness
from lib import paths

TOOL = os.path.join(paths.ROOT, "scripts", "rdma-guest")
TESTS = (
    ("parity_test.py", "Parity.test_metrics", "Parity.test_update", "Parity.test_memory_limit",
     "Parity.test_pause_and_resume"),
    ("cri_test.py", "Pods.test_stats", "Pods.test_out_of_memory", "Pods.test_update_of_resources",
     "Pods.test_two_containers_in_one_shim"),
)


class CgroupV2(unittest.TestCase):
    def test_both_files(self):
        folder = os.path.join(paths.ROOT, "integration")
        script = "cd $0 || exit" + "".join(
            f"; /usr/bin/python3 -B {' '.join(test)} || status=1" for test in TESTS)
        # Everything takes ten times as long there.
        result = subprocess.run(
            [TOOL, "--timeout", "800", "sh", "-c", f"{script}; exit $status", folder],
            env={**os.environ, "SHUNT_BUILD": paths.build_dir(), "SHUNT_QUICK": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        print(result.stdout, flush=True)
        self.assertEqual(0, result.returncode)


if __name__ == "__main__":
    harness.main(harness.guest_obstacle, long=True)
