"""The stage of verbs_faults_test.py and verbs_crowd_test.py: a guest with an RDMA device, in it two nodes without
containerd, a pod on each.

As nodes/stage.py, over the device of the guest: both nodes use it, each by its address. A test file is started here,
boots the guest and is run there once more. Emulated, everything takes ten times as long: bounds are that much wider
than those of real machines.
"""

import os
import pathlib
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / 'nodes'))
from stage import TwoNodes, across  # noqa: E402

INSIDE = 'inside'
SLOW = 10  # times
RESET = 'error 104', 'error 32'  # ECONNRESET, and EPIPE to who writes a second time


class OverVerbs(TwoNodes):
    def half(self, *arguments, options=(), **others):
        # The first connection may wait until the link is up.
        return super().half(*arguments, fabric='verbs', options=(*options, '--wait', '5000'), **others)

    def pair(self, options=(), client_options=None):
        server = self.half(1, 'server', '7000', options=options)
        self.assertEqual('ready', server.line(60))
        client = self.half(0, 'client', across.PODS[1], '7000',
                           options=options if client_options is None else client_options)
        self.assertEqual('ready', client.line(60))
        return server, client

    def ask(self, client, line, expected, bound=1):
        """Bound: seconds, of a real machine."""
        what, seconds = client.ask(line, max(60, bound * SLOW))
        self.assertIn(what, expected)
        self.assertLess(seconds, bound * SLOW)
        return what

    def works(self, client, count=1):
        for _ in range(count):
            self.ask(client, 'new', ('hello',))

    def until_reset(self, client, bound):
        """Talks on the first connection until that is over; how, and after how many seconds."""
        begin = time.monotonic()
        while (what := client.ask('talk 0', 60)[0]) == 'hello':
            self.assertLess(time.monotonic() - begin, bound * SLOW)
            time.sleep(0.1)
        took = time.monotonic() - begin
        self.say(f'{what} after {took:.1f} s')
        self.assertLess(took, bound * SLOW)
        return what

    def say(self, *what):
        print(f'\n{self.id().rsplit(".", 1)[1]}:', *what, end=' ', flush=True)

    def fast(self, client, least):
        ways = client.end()
        self.say(ways)
        self.assertGreaterEqual(ways.get('over-verbs', 0), least)

    def slow(self, client):
        ways = client.end()
        self.say(ways)
        self.assertNotIn('over-verbs', ways)


def main(environment=dict, seconds=1300):
    """Boots a guest for the tests of the program that is run, or runs them if this is in one. The guest's environment
    also has what `environment` gives."""
    program = sys.modules['__main__']
    if sys.argv[1:2] == [INSIDE]:
        unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)

    import harness
    from lib import paths
    from lib.guest import Guests

    arguments, sys.argv[1:] = sys.argv[1:], []

    class InAGuest(unittest.TestCase):
        def test_inside(self):
            if not os.path.exists(os.path.join(paths.build_dir(), 'sandbox/shunt-launch')):
                self.skipTest('shunt-launch is not built')
            with Guests(1, memory_mib=4096) as (guest,):
                process = guest.start('/usr/bin/python3', '-B', os.path.realpath(program.__file__), INSIDE, *arguments,
                                      env={'SHUNT_BUILD': paths.build_dir(), **environment()},
                                      sink=lambda stream, data: os.write(stream, data))
                process.close_input()
                self.assertEqual(0, process.wait(seconds))

    # Those of the program are for the guest.
    program.load_tests = lambda loader, *_: loader.loadTestsFromTestCase(InAGuest)
    try:
        harness.main(harness.guest_obstacle, long=not arguments)
    finally:
        sys.argv[1:] = arguments
