#!/usr/bin/python3
"""Two nodes in a guest with an RDMA device, a pod on each (verbs_stage.py): many connections over verbs, each byte of
them looked at; what silent receivers cost; who gets how much beside a hog.

As crowd_test.py and measure/integrity.c. With SHUNT_LONG=1, or those that are named: verbs_crowd_test.py
Crowd.test_every_byte. CONNECTIONS and MEGABYTES in the environment say how many that one makes, and how much
they carry.
"""

import json
import os
import pathlib
import statistics
import subprocess
import time

from verbs_stage import HERE, SLOW, OverVerbs, across, main
from crowd_test import MIB, memory
from stage import LAUNCHER  # in nodes, which verbs_stage looks into, too

CONNECTIONS = int(os.environ.get('CONNECTIONS', 500))
MEGABYTES = int(os.environ.get('MEGABYTES', 200))
PATIENCE = 120 + 3 * CONNECTIONS + 3 * MEGABYTES // 2  # seconds


class Crowd(OverVerbs):
    def test_every_byte(self):
        """Nothing breaks: many connections, each byte of them looked at, in pairs of processes."""
        pathlib.Path(self.state, 'address').write_text(across.PODS[1] + '\n')
        halves = [['nsenter', f'--net=/run/netns/{self.nodes[index]}', str(LAUNCHER), '--fabrics', 'verbs', '--wait',
                   '5000', '--short-lived', '--state', f'{self.state}/{index}', '--pod', self.pods[index], '--netns',
                   self.pods[index], '--stats', '--', os.environ['INTEGRITY']] for index in range(2)]
        with open(f'{self.state}/server', 'w', encoding='ascii') as log, subprocess.Popen(
                [*halves[1], 'serve', '7300', '4'], stderr=log) as server:
            try:
                time.sleep(10)  # it says nothing; a client that comes too early is refused
                begin = time.monotonic()
                done = subprocess.run(
                    [*halves[0], 'run', f'{self.state}/address', '7300', '1', '8', str(CONNECTIONS), str(MEGABYTES)],
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
            finally:
                server.terminate()
        took = time.monotonic() - begin
        ways = {words[1]: int(words[2]) for words in map(str.split, done.stderr.splitlines()) if words[:1] == ['path']}
        counts = json.loads(done.stdout)
        self.say(f'{counts} in {took:.0f} s, {counts["bytes"] / took / 1e6:.2f} MB/s, {CONNECTIONS / took:.2f} '
                 f'connections/s; {ways}')
        if counts['cut'] > 0:
            print(done.stderr, pathlib.Path(self.state, 'server').read_text(), sep='\n', flush=True)
        self.assertEqual((CONNECTIONS, 0, 0, 0), tuple(counts[name] for name in ('complete', 'cut', 'wrong', 'stuck')))
        self.assertGreater(ways.get('over-verbs', 0), CONNECTIONS * 0.9)

    def test_silent_receivers(self):
        """Streams that nobody reads: the shims hold what they may and no more; others go on."""
        room, count = 64 * MIB, 1000
        server, client = self.pair(('--verbs-memory', str(room)))
        self.works(client)
        before = [memory(half)['Rss'] for half in (server, client)]
        self.ask(client, f'block {count} {300 << 10}', ('blocked',), 60)
        for name, half, old in zip(('server', 'client'), (server, client), before):
            grown = memory(half)['Rss'] - old
            self.say(f"{name}'s shim: {grown / MIB:.1f} MiB more for {count} streams")
            self.assertLess(grown, room + count * 8192)
        self.ask(client, 'talk 0', ('hello',))
        self.works(client)
        self.fast(client, count * 0.9)

    def test_a_hog(self):
        """A hundred streams that always have something to say, and one that never stops: equal shares."""
        seconds = 20
        server = self.half(1, 'sink', '7000', '101', str(seconds))
        self.assertEqual('ready', server.line(60))
        client = self.half(0, 'crowd', across.PODS[1], '7000', '100')
        self.assertEqual('ready', client.line(300))
        hog, *busy = [int(word) for word in server.line(seconds * SLOW).split()]
        ways = client.end()
        total, middle = hog + sum(busy), statistics.median(busy)
        self.say(f'{total / seconds / 1e6:.1f} MB/s; of that the hog {100 * hog / total:.1f} %, each of {len(busy)} busy '
                 f'streams {100 * min(busy) / total:.2f} to {100 * max(busy) / total:.2f} %; {ways}')
        self.assertGreaterEqual(ways.get('over-verbs', 0), 95)
        self.assertGreater(min(busy), middle / 2)
        self.assertGreater(sum(busy), total / 2)


def program():
    from lib import programs
    return {'INTEGRITY': programs.compiled(str(HERE / 'measure/integrity.c')), 'CONNECTIONS': str(CONNECTIONS),
            'MEGABYTES': str(MEGABYTES)}


if __name__ == '__main__':
    main(program, PATIENCE + 900)
