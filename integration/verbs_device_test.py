#!/usr/bin/python3
"""The unit tests of netstack/verbs over a device of the kernel's, in a guest."""

import os
import unittest

import harness
from lib import paths
from lib.guest import Guests

COUNTER = "/sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts"


class Device(unittest.TestCase):
    def test_unit_tests(self):
        program = os.path.join(paths.build_dir(), "netstack", "verbs_test")
        if not os.path.exists(program):
            self.skipTest(f"{program} is not built")
        with Guests(1) as (guest,):
            result = guest.run(program, env={"SHUNT_VERBS_REAL": "1"}, timeout=300, check=False)
            print(result.stdout, result.stderr, flush=True)
            self.assertEqual(0, result.returncode)
            # Not over the device that the tests bring along.
            self.assertGreater(int(guest.run("cat", COUNTER).stdout), 100)


if __name__ == "__main__":
    harness.main(harness.guest_obstacle)
