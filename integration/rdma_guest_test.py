#!/usr/bin/python3
"""scripts/rdma-guest itself, and that there is RDMA where it leads to."""

import os
import signal
import subprocess
import sys
import tempfile
import unittest

import harness
import side_by_side
from lib import paths, proc
from lib.guest import Failed, GuestError, Guests
from lib.node import wait_until

TOOL = os.path.join(paths.ROOT, "scripts", "rdma-guest")
# Two ends on one device, each with a GID of its own. The server listens when it has said so.
LATENCY = """
stdbuf -oL ib_write_lat -d rxe0 -x 1 -n 200 -F >/tmp/server & server=$!
until grep -q Waiting /tmp/server; do sleep 0.1; done
ib_write_lat -d rxe0 -x 2 -n 200 -F $PEER && wait $server
"""


class Command(unittest.TestCase):
    """Each test is a boot."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.out = os.path.join(self.folder, "out")  # also marks the processes of this test

    def start(self, *argv):
        return subprocess.Popen([TOOL, "--out", self.out, *argv], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def run_tool(self, *argv):
        with self.start(*argv) as process:
            output, errors = process.communicate(timeout=400)  # longer than the tool's own bound
        self.assert_nothing_left()
        return process.returncode, output, errors

    def assert_nothing_left(self):
        left = [pid for pid in proc.pids() if self.folder in proc.read(f"/proc/{pid}/cmdline")]
        self.assertEqual([], left)

    def test_result_comes_back(self):
        inside = os.path.join(paths.ROOT, "written-in-a-guest")
        script = f"echo x >{inside}; cat {inside}; echo said >&2; echo kept >/out/file; exit 3"
        status, output, errors = self.run_tool("sh", "-c", f"({LATENCY}) && ({script})")
        self.assertEqual((3, "said"), (status, errors.splitlines()[-1]))  # perftest has its opinion, too
        self.assertIn("RDMA_Write Latency Test", output)
        self.assertTrue(output.endswith("\nx\n"), output)
        self.assertEqual("kept\n", proc.read(os.path.join(self.out, "file")))
        self.assertFalse(os.path.exists(inside))

    def test_no_end_in_time(self):
        status, _, errors = self.run_tool("--timeout", "20", "sleep", "1000")
        self.assertEqual(124, status)
        self.assertEqual(1, errors.count("\n"), errors)
        self.assertIn("within 20 s", errors)

    def test_death_of_the_guest(self):
        status, _, errors = self.run_tool("sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60")
        self.assertEqual(125, status)
        self.assertIn("guest1 ended before its command did", errors)

    def test_interrupt(self):
        with self.start("sh", "-c", "echo up; sleep 1000") as process:
            self.assertEqual("up\n", process.stdout.readline())
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
        self.assertEqual(130, process.returncode)
        self.assert_nothing_left()

    def test_killed(self):
        with self.start("sh", "-c", "echo up; sleep 1000") as process:
            self.assertEqual("up\n", process.stdout.readline())
            process.kill()
        wait_until(lambda: not [pid for pid in proc.pids() if proc.alive(pid)
                                and self.folder in proc.read(f"/proc/{pid}/cmdline")],
                   "end of the guest", 10)


class TwoGuests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.one, cls.two = cls.enterClassContext(Guests(2))

    def test_write_bandwidth(self):
        options = ("ib_write_bw", "-d", "rxe0", "-x", "1", "-s", "65536", "-n", "100", "-F")
        before = self.sent()
        server = self.one.start("stdbuf", "-oL", *options)
        server.wait_output("Waiting for client")
        result = self.two.run(*options, self.one.address)
        self.assertEqual(0, server.wait(), server.stderr)
        self.assertRegex(result.stdout, r"\n 65536 +100 ")
        # A packet has at most 4096 bytes.
        self.assertGreaterEqual(self.sent() - before, 100 * 65536 // 4096)

    def sent(self):
        """Packets that the second guest's RDMA device has sent."""
        return int(self.two.run(
            "cat", "/sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts").stdout)

    def test_connection_manager(self):
        server = self.one.start("rping", "-s", "-a", self.one.address, "-C", "5", "-v")
        wait_until(lambda: "rping" in self.one.run("rdma", "resource", "show", "cm_id").stdout,
                   "server of rping", 20)
        result = self.two.run("rping", "-c", "-a", self.one.address, "-C", "5", "-v")
        self.assertEqual(5, result.stdout.count("ping data: rdma-ping-"))
        server.wait()
        self.assertEqual(5, server.stdout.count("server ping data: rdma-ping-"))

    def test_link_goes_down(self):
        self.two.run("ip", "link", "set", "eth0", "down")
        self.assertIn("state DOWN", self.two.run("rdma", "link").stdout)
        with self.assertRaises(Failed):
            self.two.run("busybox", "ping", "-c", "1", "-W", "1", self.one.address)
        self.two.run("ip", "link", "set", "eth0", "up")
        self.two.run("busybox", "ping", "-c", "1", "-W", "5", self.one.address)

    def fabric(self, what):
        """netstack/verbs between the two: its links end in time, and new ones work."""
        program = os.path.join(paths.build_dir(), "netstack", "verbs_two_nodes")
        if not os.path.exists(program):
            self.skipTest(f"{program} is not built")
        halves = [guest.start(program, what, env={"NODE": str(number), "ADDRESS": guest.address,
                                                  "PEER": peer.address})
                  for number, guest, peer in ((1, self.one, self.two), (2, self.two, self.one))]
        for half in halves:
            half.wait(120)
        print("", *(line for half in halves for line in half.stdout.splitlines()
                    if "turns" not in line), sep="\n    ", flush=True)
        self.assertEqual([0, 0], [half.returncode for half in halves],
                         "".join(half.stderr for half in halves))

    def test_fabric_hears_nothing(self):
        self.fabric("deaf")

    def test_fabric_pauses(self):
        self.fabric("pause")

    def test_fabric_peer_killed(self):
        self.fabric("kill")

    @unittest.skipUnless(harness.LONG, "half a minute")
    def test_fabric_goes_down(self):
        self.fabric("down")

    def test_library(self):
        cat = self.one.start("cat")
        cat.write(b"there and back")
        cat.wait_output("there and back")
        cat.kill(signal.SIGKILL)
        self.assertEqual(-signal.SIGKILL, cat.wait())
        with self.assertRaises(GuestError):
            self.one.start("sleep", "1000").wait(0.1)
        self.assertEqual(127, self.one.run("/no/such", check=False).returncode)
        self.assertEqual("x" * 100000, self.two.run("printf", "x" * 100000).stdout)


if __name__ == "__main__":
    if len(sys.argv) == 1 and not harness.guest_obstacle():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        # A boot keeps one CPU busy. Two guests have a test's CPUs to themselves.
        failed = side_by_side.run(side_by_side.names(Command), 2)
        sys.exit(side_by_side.run(["TwoGuests"], 1) | failed)
    harness.main(harness.guest_obstacle)
