#!/usr/bin/python3
"""The guest programs (guests/README.md) over verbs: in an emulated machine with an RDMA device, client and server in
pods of two nodes (guests/guests_across_nodes.py). What they print is what they print natively.

A few of each run; all of them with SHUNT_LONG=1, some twenty minutes.
"""

import os
import time
import unittest

import harness
from harness import LONG
from lib import paths
from lib.guest import Guests

HERE = os.path.dirname(os.path.realpath(__file__))
GUESTS = os.path.join(paths.build_dir(), "integration", "guests")
LAUNCHER = os.path.join(paths.build_dir(), "sandbox", "shunt-launch")

# Each takes some five seconds: how connections begin, what they carry, each way in which they end.
SHORT = "close_unread echo_nonblocking half_close_client peer_killed server_speaks_first".split()
COUNTER = "/sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts"
AT_ONCE = 12  # programs; then is said how it went
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
    def test_guests(self):
        chosen = names() if LONG else SHORT
        failed = []
        with Guests(1) as (guest,):
            guest.run("sh", "-c", 'cat "$@" >/tmp/differ', "sh", *DIFFER)
            before = int(guest.run("cat", COUNTER).stdout)
            for i in range(0, len(chosen), AT_ONCE):
                some = chosen[i:i + AT_ONCE]
                began = time.monotonic()
                result = guest.run("/usr/bin/python3", "-B", os.path.join(HERE, "guests", "guests_across_nodes.py"),
                                   LAUNCHER, GUESTS, "verbs", "--differs", "/tmp/differ", *some,
                                   timeout=120 + 60 * len(some), check=False)
                print(f"\n{' '.join(some)}: {time.monotonic() - began:.0f} s\n{result.stdout}{result.stderr}",
                      end="", flush=True)
                if result.returncode != 0:
                    failed.append(some)
            packets = int(guest.run("cat", COUNTER).stdout) - before
            print(f"\nRDMA packets sent {packets}", end=" ", flush=True)
        self.assertGreater(packets, 4 * len(chosen))
        self.assertEqual([], failed)


if __name__ == "__main__":
    if not os.path.exists(os.path.join(GUESTS, "echo_blocking")):
        print("skipped: the guests are not built (a sanitizer build)")
        raise SystemExit(77)
    harness.main(harness.guest_obstacle)
