#!/usr/bin/python3
"""Two nodes, a pod on each: what happens to connections over the host fabric when something breaks.

Nodes and pods are network namespaces; shunt-launch supervises one program in each pod. Each test names the
errno a program must see and the bound in which it must. Needs root; exits with 77 without.
"""

import os
import pathlib
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / 'nodes'))
from stage import TwoNodes, across, main  # noqa: E402

ECONNRESET = 104


class Faults(TwoNodes):
    def test_32_bit_calls_lead_nowhere(self):
        """A program that disconnects its socket by 32-bit calls reaches nothing of the nodes with it."""
        server = self.half(1, 'server', '7000')
        self.assertEqual(server.line(), 'ready')
        victim = subprocess.Popen(
            ['ip', 'netns', 'exec', self.nodes[1], '/usr/bin/python3', '-c',
             'import socket; s = socket.create_server(("0.0.0.0", 5000)); print("up", flush=True)\n'
             'while True: s.accept()[0].sendall(b"x")'], stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (victim.kill(), victim.wait(), victim.stdout.close()))
        self.assertEqual(victim.stdout.readline(), 'up\n')
        thief = self.half(0, 'escape', across.PODS[1], '7000', across.NODES[1], '5000')
        disconnected = thief.line()
        if disconnected != 'disconnected 0':
            self.skipTest(f'this kernel has no 32-bit calls: {disconnected}')
        self.assertTrue(thief.line().startswith('not reached'))
        self.assertEqual(1, thief.end().get('over-host', 0))
        # The victim does answer whoever may ask.
        self.in_node(0, '/usr/bin/python3', '-c',
                     f'import socket; assert socket.create_connection(("{across.NODES[1]}", 5000), 5).recv(1)')

    def test_privileged_programs_get_no_socket_of_the_node(self):
        _, client = self.pair(client_options=('--privileged', '--debug'))
        self.assertEqual(client.ask('new')[0], 'hello')
        client.await_log('host is up')
        for _ in range(3):
            self.assertEqual(client.ask('early')[0], 'EINPROGRESS hello')  # what stays on TCP answers as TCP
        ways = client.end()
        self.assertNotIn('over-host', ways)
        self.assertGreater(ways.get('privileged', 0), 0)

    def test_a_server_does_not_wait_for_what_will_not_come(self):
        """A port that the program chose leaves its connection to the kernel, and the server is told."""
        server = self.half(1, 'greeter', '7000')
        self.assertEqual(server.line(), 'ready')
        client = self.half(0, 'client', across.PODS[1], '7000')
        self.assertEqual(client.line(), 'ready')
        self.assertEqual(client.ask('fast quiet', 40)[0], 'connected')
        self.assertEqual(client.ask('hear')[0], 'hello')
        answers = [client.ask('bound') for _ in range(8)]
        self.assertEqual({'hello'}, {what for what, _ in answers})
        self.assertLess(min(seconds for _, seconds in answers), 0.09)  # it would wait for 0.1 s, each time
        ways = client.end()
        self.assertGreater(ways.get('over-host', 0), 0)
        self.assertEqual(8, ways.get('unusual-option', 0))

    def test_the_server_process_is_killed(self):
        server, client = self.pair()
        self.assertEqual(client.ask('new')[0], 'hello')
        server.process.kill()  # the shim; the program dies with it, a moment later
        end = time.monotonic() + 2
        what, seconds = client.ask('talk')
        while what == 'hello' and time.monotonic() < end:  # it still answers
            what, seconds = client.ask('talk')
        self.assertIn(what, ('end', f'error {ECONNRESET}', 'error 32'))
        self.assertLess(seconds, 2)
        what, seconds = client.ask('new')
        self.assertIn(what, ('error 111', f'error {ECONNRESET}'))
        self.assertLess(seconds, 1)

    def test_control_connection_cut_and_back(self):
        """Connections live on, new ones use kernel TCP at once, and the fabric again when it is back."""
        _, client = self.pair()
        self.assertEqual(client.ask('fast', 40)[0], 'hello')
        subprocess.run(['ip', 'netns', 'exec', self.pods[1], 'nft',
                        'add table inet cut; add chain inet cut i { type filter hook input priority 0; }; '
                        'add rule inet cut i tcp dport 7471 reject with tcp reset; '
                        'add rule inet cut i tcp sport 7471 drop'], check=True)
        self.assertEqual(client.ask('talk')[0], 'hello')  # nobody of ours is in its path
        begin = time.monotonic()
        for _ in range(3):
            what, seconds = client.ask('new')
            self.assertEqual(what, 'hello')
            self.assertLess(seconds, 1)
        self.assertLess(time.monotonic() - begin, 3)
        subprocess.run(['ip', 'netns', 'exec', self.pods[1], 'nft', 'delete', 'table', 'inet', 'cut'], check=True)
        self.assertEqual(client.ask('fast', 40)[0], 'hello')  # redialled with growing pauses, of at most 5 s
        paths = client.end()
        self.assertEqual(2, paths.get('over-host', 0), paths)

    def test_the_nodes_cannot_reach_each_other(self):
        """Only the overlay works: kernel TCP, without noticeable delay."""
        self.in_node(1, 'nft', 'add table inet cut; add chain inet cut i { type filter hook input priority 0; }; '
                               'add rule inet cut i tcp dport 7472-7727 drop')
        _, client = self.pair()
        for _ in range(3):
            what, seconds = client.ask('new')
            self.assertEqual(what, 'hello')
            self.assertLess(seconds, 1)
        self.assertNotIn('over-host', client.end())

    def test_another_cluster_key(self):
        keys = []
        for i in range(2):
            keys.append(f'{self.state}/key{i}')
            pathlib.Path(keys[i]).write_text(f'{i}' * 32)
            os.chmod(keys[i], 0o600)
        _, client = self.pair(('--key', keys[0]), ('--key', keys[1]))
        self.assertEqual(client.ask('new')[0], 'hello')
        self.assertNotIn('over-host', client.end())

    def test_the_same_cluster_key(self):
        key = f'{self.state}/key'
        pathlib.Path(key).write_text('k' * 32)
        os.chmod(key, 0o600)
        _, client = self.pair(('--key', key), ('--key', key))
        self.assertEqual(client.ask('fast', 40)[0], 'hello')
        self.assertEqual(1, client.end().get('over-host', 0))

    def test_containers_are_refused_the_control_port(self):
        server = self.half(1, 'server', '7000')
        self.assertEqual(server.line(), 'ready')
        client = self.half(0, 'client', across.PODS[1], '7471')
        self.assertEqual(client.line(), 'ready')
        self.assertEqual(client.ask('new')[0], 'error 111')


if __name__ == '__main__':
    socket.setdefaulttimeout(30)
    main()
