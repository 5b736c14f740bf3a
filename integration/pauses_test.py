#!/usr/bin/python3
"""Two nodes, a pod on each, and a shim that stops for a while, as in a machine that is paused, moved or overloaded.

Shorter than fabrics.silence: nobody notices but by the delay. Longer: the streams of that peer are reset within the
bound, on both sides, and new connections go on. Needs root; exits with 77 without.
"""

import os
import pathlib
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / 'nodes'))
from stage import TwoNodes, main  # noqa: E402

RESET = ('error 104', 'error 32')  # ECONNRESET, and EPIPE to who writes a second time
SILENCE = 6  # seconds, fabrics.silence


class Pauses(TwoNodes):
    fabric = 'window'

    def setUp(self):
        super().setUp()
        self.server, self.client = self.pair(fabric=self.fabric)
        for _ in range(2):
            self.assertEqual('hello', self.client.ask('fast', 40)[0])

    def stop(self, *halves):
        """On a busy machine threads run on until the one that takes the signal gets a CPU: all have stopped then."""
        for half in halves:
            os.kill(half.process.pid, signal.SIGSTOP)
        for half in halves:
            os.waitid(os.P_PID, half.process.pid, os.WSTOPPED)
        return time.monotonic()

    def go_on(self, *halves):
        for half in halves:
            os.kill(half.process.pid, signal.SIGCONT)

    def short(self, *halves, seconds=4):
        """Several times, so that a pause falls together with whatever a shim does now and then."""
        for _ in range(3):
            began = self.stop(*halves)
            time.sleep(0.1)
            self.client.tell('talk 0')
            time.sleep(seconds - (time.monotonic() - began))
            self.go_on(*halves)
            self.assertEqual('hello', self.client.answer(10)[0])
            for _ in range(5):  # what was to happen meanwhile happens now
                self.assertEqual('hello', self.client.ask('talk 0')[0])
                time.sleep(0.05)
        self.assertEqual('hello', self.client.ask('talk 1')[0])
        self.assertEqual('hello', self.client.ask('new')[0])

    def test_server_pauses(self):
        self.short(self.server)

    def test_client_pauses(self):
        self.short(self.client)

    def test_both_pause(self):
        """As two machines on one host."""
        self.short(self.server, self.client)

    def test_both_pause_long(self):
        """Neither has been silent while the other one listened."""
        self.short(self.server, self.client, seconds=SILENCE + 3)

    def test_too_long(self):
        began = self.stop(self.server)
        self.client.tell('talk 0')
        self.assertIn(self.client.answer(SILENCE + 4)[0], RESET)
        took = time.monotonic() - began
        print(f'\nreset after {took:.1f} s', end=' ', flush=True)
        self.assertGreater(took, SILENCE - 2.5)
        self.assertLess(took, SILENCE + 1)
        self.go_on(self.server)
        self.assertIn(self.client.ask('talk 1')[0], RESET)
        self.assertEqual('hello', self.client.ask('new')[0])
        self.assertGreaterEqual(self.client.end().get('over-window', 0), 2)


if __name__ == '__main__':
    main(at_once=4)
