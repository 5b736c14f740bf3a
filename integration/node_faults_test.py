#!/usr/bin/python3
"""Two nodes, a pod on each: links that are cut, shims that are none, listeners that vanish, memory that is used up.

As nodes_test.py: each test names the errno a program must see and the bound in which it must, that other connections
go on, that new ones are the kernel's at once, and that they return to the fabric. Needs root; exits with 77 without.
"""

import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / 'nodes'))
from stage import TwoNodes, across, main  # noqa: E402

EPIPE, ECONNRESET = 32, 104
LOST = 'is lost'  # a shim's word about its control connection
DEBUG = ('--debug',)


class Stranger:
    """A program of the server's pod that nobody supervises: nodes/stranger.py."""

    def __init__(self, test, *arguments):
        self.process = subprocess.Popen(
            ['ip', 'netns', 'exec', test.pods[1], '/usr/bin/python3', str(HERE / 'nodes/stranger.py'), *arguments],
            stdout=subprocess.PIPE, text=True)
        test.addCleanup(self.stop)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def line(self):
        return self.process.stdout.readline().rstrip('\n')

    def ended(self):
        """(how the shim ended a call, after how many seconds)"""
        how, seconds = self.line().rsplit(' ', 1)
        return how, float(seconds)


class Cut(TwoNodes):
    """The way between the nodes is interrupted, for longer than the shims bear."""

    def down(self):
        self.in_node(0, 'ip', 'link', 'set', 'u0', 'down')

    def up(self):
        self.in_node(0, 'ip', 'link', 'set', 'u0', 'up')

    def drop(self):
        """One way: the server's node hears nothing any more."""
        self.in_node(1, 'nft', 'add table inet cut; add chain inet cut i { type filter hook input priority 0; }; '
                               'add rule inet cut i iifname "u0" drop')

    def let_through(self):
        self.in_node(1, 'nft', 'delete', 'table', 'inet', 'cut')

    def cut(self, fabric, cut, mend):
        server, client = self.pair(DEBUG, DEBUG, fabric)
        self.assertEqual(client.ask('fast', 40)[0], 'hello')
        begin = time.monotonic()
        cut()
        if fabric == 'host':
            client.tell('talk 0')
        else:
            self.assertEqual(client.ask('talk 0')[0], 'hello')  # memory is shared another way
        for half in (server, client):
            half.await_log(LOST, 12)
        print(f'\n{self.id().rsplit(".", 1)[1]}: both shims knew after {time.monotonic() - begin:.1f} s', end='; ')
        if fabric == 'host':
            mend()
            what, seconds = client.answer(20)  # nobody of ours is in its path: TCP sends it again
            self.assertEqual(what, 'hello')
            print(f'the old connection went on after {seconds:.1f} s', end='; ')
        else:
            # Nobody would tell these streams any more what becomes of the other side.
            what, seconds = client.ask('talk 0')
            self.assertIn(what, (f'error {ECONNRESET}', f'error {EPIPE}'))
            self.assertLess(seconds, 1)
            print('the old connection was reset', end='; ')
            mend()
        mended = time.monotonic()
        slowest = 0
        for _ in range(20):
            what, seconds = client.ask('new')
            self.assertEqual(what, 'hello')
            slowest = max(slowest, seconds)
            time.sleep(0.5)  # all in all longer than the longest pause before the shims call again
        self.assertLess(slowest, 3)  # a lost first packet is sent again after a second
        ways = client.end()
        print(f'new ones took {slowest:.3f} s at most; ways in {time.monotonic() - mended:.0f} s: {ways}')
        self.assertGreaterEqual(ways.get(f'over-{fabric}', 0), 3)

    def test_host_down(self):
        self.cut('host', self.down, self.up)

    def test_host_one_way(self):
        self.cut('host', self.drop, self.let_through)

    def test_window_down(self):
        self.cut('window', self.down, self.up)

    def test_window_one_way(self):
        self.cut('window', self.drop, self.let_through)


class Strangers(TwoNodes):
    """Something else than a shim at the control port."""

    def stranger(self, mode, reason):
        stranger = Stranger(self, mode, across.PODS[1])
        self.assertEqual(stranger.line(), 'ready')
        echo = subprocess.Popen(
            ['ip', 'netns', 'exec', self.pods[1], '/usr/bin/python3', str(HERE / 'nodes/talk.py'), 'server', '7000'],
            stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (echo.kill(), echo.wait(), echo.stdout.close()))
        self.assertEqual(echo.stdout.readline(), 'ready\n')
        client = self.half(0, 'client', across.PODS[1], '7000')
        self.assertEqual(client.line(), 'ready')
        for _ in range(3):
            what, seconds = client.ask('new')
            self.assertEqual(what, 'hello')
            self.assertLess(seconds, 1)
        if reason:
            how, seconds = stranger.ended()
            self.assertIn(how, reason)
            self.assertLess(seconds, 3)
        for which in range(3):
            self.assertEqual(client.ask(f'talk {which}')[0], 'hello')
        self.assertFalse([way for way in client.end() if way.startswith('over-')])

    def test_another_version(self):
        self.stranger('version', ('bye 3',))

    def test_garbage_for_an_answer(self):
        self.stranger('garbage', ('bye 7', 'end', f'error {ECONNRESET}'))

    def test_no_answer(self):
        self.stranger('silent', ('bye 9', 'bye 1', 'bye 5', 'end', f'error {ECONNRESET}'))

    def test_garbage_when_the_connection_is_up(self):
        self.stranger('traitor', ('bye 7', f'error {ECONNRESET}'))

    def test_garbage_from_the_address_of_a_peer(self):
        """The peer's own connection does not suffer from what somebody else in its pod does."""
        _, client = self.pair()
        self.assertEqual(client.ask('fast', 40)[0], 'hello')
        count = 60
        stranger = Stranger(self, 'call', across.PODS[0], str(count))
        for _ in range(count):
            how, seconds = stranger.ended()
            self.assertIn(how, ('bye 5', 'bye 7', 'bye 3', 'end', f'error {ECONNRESET}'))
            self.assertLess(seconds, 3)
            self.assertEqual(client.ask('talk 0')[0], 'hello')
        for _ in range(5):
            what, seconds = client.ask('new')
            self.assertEqual(what, 'hello')
            self.assertLess(seconds, 1)
        self.assertGreaterEqual(client.end().get('over-host', 0), 3)  # a busy server may go ahead


class Listeners(TwoNodes):
    def vanish(self, fabric):
        """The server closes its listener while a connection, upgraded already, waits to be accepted."""
        server = self.half(1, 'reluctant', '7000', fabric=fabric)
        self.assertEqual(server.line(), 'ready')
        client = self.half(0, 'client', across.PODS[1], '7000', fabric=fabric)
        self.assertEqual(client.line(), 'ready')
        self.assertEqual(client.ask('fast quiet', 40)[0], 'connected')
        client.tell('hear')
        server.tell('close')
        self.assertEqual(server.line(), 'closed')
        what, seconds = client.answer()
        self.assertEqual(what, f'error {ECONNRESET}')
        self.assertLess(seconds, 2)
        what, seconds = client.ask('new')
        self.assertEqual(what, 'error 111')
        self.assertLess(seconds, 1)
        self.assertGreaterEqual(client.end().get(f'over-{fabric}', 0), 1)

    def test_vanish_host(self):
        self.vanish('host')

    def test_vanish_window(self):
        self.vanish('window')


class Memory(TwoNodes):
    def test_no_room_for_rings(self):
        """Streams that nobody reads hold all of it: new connections are the kernel's, old ones go on."""
        options = ('--window-memory', str(1 << 20))
        server, client = self.pair(options, options, 'window')
        self.assertEqual(client.ask('fast', 40)[0], 'hello')
        self.assertEqual(client.ask(f'block 200 {1 << 20}', 60)[0], 'blocked')
        what, seconds = client.ask('new')
        self.assertEqual(what, 'hello')
        self.assertLess(seconds, 1)
        what, seconds = client.ask('talk 0')
        self.assertEqual(what, 'hello')
        self.assertLess(seconds, 1)
        server.tell('release')
        self.assertEqual(client.ask('drop')[0], 'dropped')
        for _ in range(20):
            what, seconds = client.ask('new')
            self.assertEqual(what, 'hello')
            self.assertLess(seconds, 1)
            time.sleep(0.1)  # rings come back when both ends of their streams are closed
        ways = client.end()
        print(f'\n{ways}')
        self.assertGreater(ways.get('fabric-full', 0), 0)
        # Before: one, and a stream for each of the smallest rings; afterwards most of twenty.
        self.assertGreaterEqual(ways.get('over-window', 0), 64 + 15)


if __name__ == '__main__':
    main(at_once=4)
