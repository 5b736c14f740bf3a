#!/usr/bin/python3
"""The unit tests of netstack/verbs over a device of the kernel's, in a guest."""

import os
import unittest

import harness
from lib import paths
from lib.guest import Guests

PROGRAMS = "verbs_test", "verbs_contract_test"
COUNTER = "/sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts"


class Device(unittest.TestCase):
    def test_unit_tests(self):
        programs = [os.path.join(paths.build_dir(), "netstack", name) for name in PROGRAMS]
        if not all(map(os.path.exists, programs)):
            self.skipTest(f"{' and '.join(programs)} are not built")
        with Guests(1) as (guest,):
            for program in programs:
                with self.subTest(program):
                    before = int(guest.run("cat", COUNTER).stdout)
                    # Thousands of streams within a time are not for an emulated machine.
                    result = guest.run(program, "--test-case-exclude=*thousand*",
                                       env={"SHUNT_VERBS_REAL": "1"}, timeout=800, check=False)
                    print(result.stdout, result.stderr, flush=True)
                    self.assertEqual(0, result.returncode)
                    # Not over the device that the tests bring along.
                    self.assertGreater(int(guest.run("cat", COUNTER).stdout) - before, 100)


if __name__ == "__main__":
    harness.main(harness.guest_obstacle)
