#!/usr/bin/python3
"""The guest programs (guests/README.md) over verbs: in an emulated machine with an RDMA device, client and server in
pods of two nodes (guests/guests_across_nodes.py). What they print is what they print natively.

A few of each run; all of them with SHUNT_LONG=1, in slices that are a boot each, of three to seven minutes. A slice
that is named runs whatever the environment says: verbs_guests_test.py OverVerbs.test_slice_3
"""

import os
import sys
import time
import unittest

import harness
from harness import LONG
from lib import paths
from lib.guest import GuestError, Guests

HERE = os.path.dirname(os.path.realpath(__file__))
GUESTS = os.path.join(paths.build_dir(), "integration", "guests")
LAUNCHER = os.path.join(paths.build_dir(), "sandbox", "shunt-launch")

# Each takes some five seconds: how connections begin, what they carry, each way in which they end.
SHORT = "close_unread echo_nonblocking half_close_client peer_killed server_speaks_first".split()
COUNTER = "/sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts"
AT_ONCE = 12  # programs; then is said how it went
SLICES = 6
SLOW = 10  # times slower than a real machine: guests/guest.h
DIFFER = [os.path.join(HERE, "guests", f"differs_{kind}.txt") for kind in ("window", "verbs")]


def names():
    """Those to run, without what differs so much that it hangs."""
    hang = set()
    for path in DIFFER:
        with open(path, encoding="utf-8") as lines:
            hang |= {line.split()[0][1:] for line in lines if line.startswith("!")}
    everything = sorted(name for name in os.listdir(GUESTS) if os.path.isfile(os.path.join(GUESTS, name))
                        and os.access(os.path.join(GUESTS, name), os.X_OK) and "." not in name)
    return [name for name in everything if name not in hang]


class OverVerbs(unittest.TestCase):
    def batch(self, guest, some):
        """Runs these; the names of those that print something else."""
        began = time.monotonic()
        result = guest.run("/usr/bin/python3", "-B", os.path.join(HERE, "guests", "guests_across_nodes.py"),
                           LAUNCHER, GUESTS, "verbs", "--differs", "/tmp/differ", *some,
                           env={"GUEST_SLOW": str(SLOW)}, timeout=120 + 60 * len(some), check=False)
        print(f"\n{' '.join(some)}: {time.monotonic() - began:.0f} s\n{result.stdout}{result.stderr}",
              end="", flush=True)
        differ = [name for name in some if f"\n{name}: " in "\n" + result.stdout.replace(": no longer differs", "")]
        return differ or (some if result.returncode != 0 else [])

    def one_boot(self, waiting):
        """Takes from those that wait until none does, or the machine fails; which differ, how many packets were sent."""
        differ, packets = [], 0
        with Guests(1) as (guest,):
            guest.run("sh", "-c", 'cat "$@" >/tmp/differ', "sh", *DIFFER)
            before = int(guest.run("cat", COUNTER).stdout)
            while waiting:
                some, waiting[:] = waiting[:AT_ONCE], waiting[AT_ONCE:]
                try:
                    differ += self.batch(guest, some)
                except GuestError as error:
                    print(f"\n{error}", flush=True)
                    return differ + some, packets
                packets = int(guest.run("cat", COUNTER).stdout) - before
        return differ, packets

    def equal(self, chosen):
        waiting, differ, packets = list(chosen), [], 0
        while waiting:
            more, sent = self.one_boot(waiting)
            differ += more
            packets += sent
        print(f"\n{len(chosen) - len(differ)} equal, {len(differ)} differ: {' '.join(differ)}; RDMA packets sent {packets}",
              end=" ", flush=True)
        self.assertGreater(packets, 4 * len(chosen))
        self.assertEqual([], differ)

    @unittest.skipIf(LONG, "the slices have them")
    def test_a_few(self):
        self.equal(SHORT)


def slice_of_all(number):
    """The test of so many of SLICES, from 1."""
    @unittest.skipUnless(LONG or len(sys.argv) > 1, "SHUNT_LONG=1 runs it")
    def test(self):
        everything = names()
        self.equal(everything[len(everything) * (number - 1) // SLICES:len(everything) * number // SLICES])

    return test


for i in range(1, SLICES + 1):
    setattr(OverVerbs, f"test_slice_{i}", slice_of_all(i))


if __name__ == "__main__":
    if not os.path.exists(os.path.join(GUESTS, "echo_blocking")):
        print("skipped: the guests are not built (a sanitizer build)")
        raise SystemExit(77)
    harness.main(harness.guest_obstacle)
