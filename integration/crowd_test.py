#!/usr/bin/python3
"""Many streams of one link (fabric window): what silent receivers cost, and who gets how much beside a hog.

Nodes and pods are network namespaces; shunt-launch supervises one program in each pod. Needs root; exits with 77
without.
"""

import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / 'nodes'))
from stage import TwoNodes, across, main  # noqa: E402

MIB = 1 << 20
MEMORY = 128 * MIB  # for rings, of each shim; with less some of the streams are the kernel's


def memory(half):
    """Bytes of a shim's own and its share of what it shares, without the programs it runs."""
    with open(f'/proc/{half.process.pid}/smaps_rollup', encoding='ascii') as file:
        return {line.split(':')[0]: int(line.split()[1]) << 10 for line in file if line.startswith(('Pss', 'Rss'))}


class Crowd(TwoNodes):
    def test_silent_receivers(self):
        """1,000 streams with a MiB each, and nobody reads: the shims hold what they may and no more."""
        options = ('--window-memory', str(MEMORY))
        server, client = self.pair(options, options, 'window')
        self.assertEqual(client.ask('fast', 40)[0], 'hello')
        before = [memory(half) for half in (server, client)]
        self.assertEqual(client.ask(f'block 1000 {MIB}', 120)[0], 'blocked')
        after = [memory(half) for half in (server, client)]
        for name, old, new in zip(('server', 'client'), before, after):
            grown = {key: (new[key] - old[key]) / MIB for key in ('Rss', 'Pss')}
            print(f"\n{name}'s shim: {grown['Pss']:.1f} MiB more (resident, shared pages included: "
                  f"{grown['Rss']:.1f}) for 1000 blocked streams", end='')
            # The rings, which both have mapped, and 8 KiB for each stream.
            self.assertLess(new['Rss'] - old['Rss'], MEMORY + 8 * MIB)
        what, seconds = client.ask('talk 0')  # others go on
        self.assertEqual(what, 'hello')
        self.assertLess(seconds, 1)
        what, seconds = client.ask('new')
        self.assertEqual(what, 'hello')
        self.assertLess(seconds, 1)
        ways = client.end()
        print(f'\n{ways}')
        self.assertGreaterEqual(ways.get('over-window', 0), 900)

    def test_a_hog(self):
        """A hundred streams that always have something to say, and one that never stops: equal shares."""
        seconds = 4
        server = self.half(1, 'sink', '7000', '101', str(seconds), fabric='window')
        self.assertEqual(server.line(), 'ready')
        client = self.half(0, 'crowd', across.PODS[1], '7000', '100', fabric='window')
        self.assertEqual(client.line(), 'ready')
        hog, *busy = [int(word) for word in server.line(60).split()]
        ways = client.end()
        self.assertGreaterEqual(ways.get('over-window', 0), 95, ways)
        self.assertEqual(100, len(busy))
        total, middle = hog + sum(busy), statistics.median(busy)
        print(f'\n{total / seconds / 1e6:.0f} MB/s; of that the hog {100 * hog / total:.1f} %, each of 100 busy streams '
              f'{100 * min(busy) / total:.2f} to {100 * max(busy) / total:.2f} %, median {100 * middle / total:.2f} %')
        self.assertGreater(min(busy), middle / 2)
        # They wait for an acknowledgement after each piece; what they leave is the hog's.
        self.assertGreater(sum(busy), total / 2)


if __name__ == '__main__':
    main()
