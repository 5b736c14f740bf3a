#!/usr/bin/python3
"""Two nodes in a guest with an RDMA device, a pod on each: what happens to connections over verbs when something
breaks.

As nodes_test.py and node_faults_test.py, over the device of the guest: both nodes use it, each by its address. So
a cut between the nodes cuts the control connection only; verbs_two_nodes (rdma_guest_test.py) cuts the device's
own way. An emulated machine takes ten times as long: bounds are that much wider than those of real ones.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
INSIDE = 'inside'
SLOW = 10  # times
CONNECTIONS, MEGABYTES = 500, 200
RESET = 'error 104', 'error 32'  # ECONNRESET, and EPIPE to who writes a second time


def outside():
    """The test as it is started: boots a guest, and is run there."""
    import harness
    from lib import paths, programs
    from lib.guest import Guests

    class InAGuest(unittest.TestCase):
        def test_faults(self):
            if not os.path.exists(os.path.join(paths.build_dir(), 'sandbox/shunt-launch')):
                self.skipTest('shunt-launch is not built')
            environment = {'SHUNT_BUILD': paths.build_dir(),
                           'INTEGRITY': programs.compiled(str(HERE / 'measure/integrity.c'))}
            with Guests(1) as (guest,):
                result = guest.run('/usr/bin/python3', '-B', os.path.realpath(__file__), INSIDE, *arguments,
                                   env=environment, timeout=1300, check=False)
            print(result.stdout, result.stderr, sep='\n', flush=True)
            self.assertEqual(0, result.returncode)

    globals()['InAGuest'] = InAGuest
    arguments, sys.argv[1:] = sys.argv[1:], []
    try:
        harness.main(harness.guest_obstacle, long=True)
    finally:
        sys.argv[1:] = arguments


def inside():
    sys.path.insert(0, str(HERE / 'nodes'))
    from stage import LAUNCHER, TwoNodes, across

    class Faults(TwoNodes):
        def half(self, *arguments, options=(), **others):
            # The first connection may wait until the link is up.
            return super().half(*arguments, fabric='verbs', options=(*options, '--wait', '5000'), **others)

        def pair(self, *options):
            server = self.half(1, 'server', '7000', options=options)
            self.assertEqual('ready', server.line(60))
            client = self.half(0, 'client', across.PODS[1], '7000', options=options)
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
            print(f'\n{self.id().rsplit(".", 1)[1]}: {what} after {took:.1f} s', end=' ', flush=True)
            self.assertLess(took, bound * SLOW)
            return what

        def fast(self, client, least):
            ways = client.end()
            print(ways, flush=True)
            self.assertGreaterEqual(ways.get('over-verbs', 0), least)

        def test_program_killed(self):
            server, client = self.pair()
            self.works(client, 2)
            launcher = server.process.pid
            children = pathlib.Path(f'/proc/{launcher}/task/{launcher}/children').read_text().split()
            os.kill(int(children[0]), signal.SIGKILL)
            self.assertIn(self.until_reset(client, 1), ('end', *RESET))
            self.ask(client, 'new', ('error 111', *RESET))
            self.fast(client, 1)

        def test_shim_killed(self):
            server, client = self.pair()
            self.works(client, 2)
            server.process.kill()
            self.assertIn(self.until_reset(client, 2), ('end', *RESET))
            self.ask(client, 'new', ('error 111', *RESET))
            self.fast(client, 1)

        def control(self, verb, rule=''):
            self.in_pod(1, 'nft', f'{verb} table inet cut' + rule)

        def in_pod(self, index, *command):
            subprocess.run(['ip', 'netns', 'exec', self.pods[index], *command], check=True)

        def comes_back(self, client):
            """New ones are the kernel's at once, and after a while the fabric's again."""
            end = time.monotonic() + 60
            for _ in range(12):
                self.works(client)
                time.sleep(1)  # all in all longer than the longest pause before the shims call again
                self.assertLess(time.monotonic(), end)

        def test_control_connection_cut(self):
            _, client = self.pair()
            self.works(client, 2)
            self.control('add', '; add chain inet cut i { type filter hook input priority 0; }; '
                                'add rule inet cut i tcp dport 7471 reject with tcp reset; '
                                'add rule inet cut i tcp sport 7471 reject with tcp reset')
            # Nobody would tell the streams any more what becomes of the other side.
            self.assertIn(self.until_reset(client, 7), RESET)
            self.works(client, 3)
            self.control('delete')
            self.comes_back(client)
            self.fast(client, 4)

        def cut(self, cut, mend):
            _, client = self.pair()
            self.works(client, 2)
            cut()
            self.ask(client, 'talk 0', ('hello',))  # the device has another way
            self.assertIn(self.until_reset(client, 7), RESET)
            mend()
            self.comes_back(client)
            self.fast(client, 4)

        def test_cut_both_ways(self):
            self.cut(lambda: self.in_node(0, 'ip', 'link', 'set', 'u0', 'down'),
                     lambda: self.in_node(0, 'ip', 'link', 'set', 'u0', 'up'))

        def test_cut_one_way(self):
            self.cut(lambda: self.in_node(
                         1, 'nft', 'add table inet cut; add chain inet cut i { type filter hook input priority 0; }; '
                                   'add rule inet cut i iifname "u0" drop'),
                     lambda: self.in_node(1, 'nft', 'delete', 'table', 'inet', 'cut'))

        def test_listener_vanishes(self):
            server = self.half(1, 'reluctant', '7000')
            self.assertEqual('ready', server.line(60))
            client = self.half(0, 'client', across.PODS[1], '7000')
            self.assertEqual('ready', client.line(60))
            self.ask(client, 'quiet', ('connected',))
            client.tell('hear')
            server.tell('close')
            self.assertEqual('closed', server.line(60))
            self.assertEqual('error 104', client.answer(20)[0])
            self.ask(client, 'new', ('error 111',))
            self.fast(client, 1)

        def test_no_room_for_rings(self):
            """Streams that nobody reads hold all of it: new connections are the kernel's, old ones go on."""
            server, client = self.pair('--verbs-memory', str(4 << 20))  # half of it is what the peer writes
            self.works(client)
            self.ask(client, f'block 140 {600 << 10}', ('blocked',), 20)
            self.works(client)
            self.ask(client, 'talk 0', ('hello',))
            server.tell('release')
            self.ask(client, 'drop', ('dropped',))
            for _ in range(20):
                self.works(client)
                time.sleep(0.2)  # rings come back when both ends of their streams are closed
            ways = client.end()
            print('\n', ways, flush=True)
            self.assertGreater(ways.get('fabric-full', 0), 0)
            self.assertGreater(ways.get('over-verbs', 0), 64)

        def test_every_byte(self):
            """Nothing breaks: many connections, each byte of them looked at, in pairs of processes."""
            program = os.environ.get('INTEGRITY')
            if not program:
                self.skipTest('INTEGRITY, the program, is not set')
            pathlib.Path(self.state, 'address').write_text(across.PODS[1] + '\n')
            halves = [['nsenter', f'--net=/run/netns/{self.nodes[index]}', str(LAUNCHER), '--fabrics', 'verbs', '--wait',
                       '5000', '--state', f'{self.state}/{index}', '--pod', self.pods[index], '--netns',
                       self.pods[index], '--stats', '--', program] for index in range(2)]
            with open(f'{self.state}/server', 'w', encoding='ascii') as log, subprocess.Popen(
                    [*halves[1], 'serve', '7300', '4'], stderr=log) as server:
                try:
                    time.sleep(10)  # it says nothing; a client that comes too early is refused
                    begin = time.monotonic()
                    done = subprocess.run(
                        [*halves[0], 'run', f'{self.state}/address', '7300', '1', '8', str(CONNECTIONS), str(MEGABYTES)],
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=500, check=True)
                finally:
                    server.terminate()
            ways = {words[1]: int(words[2]) for words in map(str.split, done.stderr.splitlines())
                    if words[:1] == ['path']}
            print('\n', done.stdout, f'{time.monotonic() - begin:.0f} s', ways, flush=True)
            counts = json.loads(done.stdout)
            if counts['cut'] > 0:
                print(done.stderr, pathlib.Path(self.state, 'server').read_text(), sep='\n', flush=True)
            self.assertEqual((CONNECTIONS, 0, 0, 0), tuple(counts[name] for name in ('complete', 'cut', 'wrong', 'stuck')))
            self.assertGreater(ways.get('over-verbs', 0), CONNECTIONS * 0.9)

    globals()['Faults'] = Faults
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)


if __name__ == '__main__':
    inside() if sys.argv[1:2] == [INSIDE] else outside()
