#!/usr/bin/python3
"""Two nodes in a guest with an RDMA device, a pod on each (verbs_stage.py): what happens to connections over verbs when
something breaks.

As nodes_test.py and node_faults_test.py. Both nodes use one device. So a cut between the nodes cuts the control
connection only; verbs_two_nodes (rdma_guest_test.py) cuts the device's own way. With SHUNT_LONG=1, or those that are
named: verbs_faults_test.py Faults.test_shim_killed
"""

import os
import pathlib
import signal
import subprocess
import time

from verbs_stage import RESET, SLOW, OverVerbs, across, main
from node_faults_test import Stranger


class Faults(OverVerbs):
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
        server, client = self.pair(('--verbs-memory', str(4 << 20)))  # half of it is what the peer writes
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
        self.say(ways)
        self.assertGreater(ways.get('fabric-full', 0), 0)
        self.assertGreater(ways.get('over-verbs', 0), 64)

    def test_ipv6(self):
        """Pods that know each other by IPv6 alone; the device's addresses are the nodes'."""
        addresses = [f'fd00:72::{i + 1}' for i in range(2)]
        for pod, old, new in zip(self.pods, across.PODS, addresses):
            subprocess.run(['ip', '-n', pod, 'addr', 'add', f'{new}/64', 'dev', 'eth0', 'nodad'], check=True)
            subprocess.run(['ip', '-n', pod, 'addr', 'del', f'{old}/24', 'dev', 'eth0'], check=True)
        server = self.half(1, 'server', '7000', '::')
        self.assertEqual('ready', server.line(60))
        client = self.half(0, 'client', addresses[1], '7000')
        self.assertEqual('ready', client.line(60))
        self.works(client, 5)
        self.ask(client, 'talk 0', ('hello',))
        self.fast(client, 4)


class Peers(OverVerbs):
    """Whom a shim does not take for its peer, or not any more."""

    def keys(self, *texts):
        for i, text in enumerate(texts):
            path = pathlib.Path(self.state, f'key{i}')
            path.touch(0o600)
            path.write_text(text * 32)
            yield '--key', str(path)

    def test_another_cluster_key(self):
        _, client = self.pair(*self.keys('a', 'b'))
        self.works(client, 3)
        self.slow(client)

    def test_the_same_cluster_key(self):
        _, client = self.pair(*self.keys('a', 'a'))
        self.works(client, 3)
        self.fast(client, 2)

    def stranger(self, mode, *reasons):
        """Something else than a shim at the control port of the server's pod; its server is nobody's."""
        stranger = Stranger(self, mode, across.PODS[1])
        self.assertEqual('ready', stranger.line())
        echo = subprocess.Popen(
            ['ip', 'netns', 'exec', self.pods[1], '/usr/bin/python3',
             str(pathlib.Path(__file__).parent / 'nodes/talk.py'), 'server', '7000'], stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (echo.kill(), echo.wait(), echo.stdout.close()))
        self.assertEqual('ready\n', echo.stdout.readline())
        client = self.half(0, 'client', across.PODS[1], '7000')
        self.assertEqual('ready', client.line(60))
        self.works(client, 3)
        how, seconds = stranger.ended()
        self.say(how, f'after {seconds:.1f} s')
        self.assertIn(how, reasons)
        self.assertLess(seconds, 3 * SLOW)
        for which in range(3):
            self.ask(client, f'talk {which}', ('hello',))
        self.slow(client)

    def test_another_version(self):
        self.stranger('version', 'bye 3')

    def test_garbage_for_an_answer(self):
        self.stranger('garbage', 'bye 7', 'end', 'error 104')

    def test_garbage_when_the_connection_is_up(self):
        self.stranger('traitor', 'bye 7', 'error 104')

    def test_garbage_from_the_address_of_a_peer(self):
        """The peer's own connection and streams do not suffer from what somebody else in its pod does."""
        _, client = self.pair()
        self.works(client, 2)
        stranger = Stranger(self, 'call', across.PODS[0], '20')
        for _ in range(20):
            how, seconds = stranger.ended()
            self.assertIn(how, ('bye 5', 'bye 7', 'bye 3', 'end', 'error 104'))
            self.assertLess(seconds, 3 * SLOW)
            self.ask(client, 'talk 0', ('hello',))
        self.works(client, 3)
        self.fast(client, 4)


if __name__ == '__main__':
    main()
