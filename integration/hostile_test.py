#!/usr/bin/python3
"""Pods that mean harm (measure/hostile.c): the shims survive, other pods do not notice, nothing but bytes
crosses from pod to pod. The ctest sandbox_hostile does the like inside one pod."""

import concurrent.futures
import json
import os
import statistics

import harness
import leftovers
from harness import LONG
from lib import programs
from pods import LATE, Image, PodPair, PodTest, wait_until

_MEASURE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "measure")
PORT = 7400
SECONDS = 60 if LONG else 3
TCP_PAIRS = ({"upgrade": {"pair": "tcp"}},) * 2


class Hostile(PodTest):
    def setUp(self):
        super().setUp()
        self.image = Image("hostile", files=tuple(
            (f"/usr/bin/{name}", 0o755, programs.contents(os.path.join(_MEASURE, f"{name}.c")))
            for name in ("hostile", "rates")))

    def bystanders(self):
        """Two pods that want nothing but to talk to each other."""
        pair = self.pair()
        pair.serve("rates", "rates", "server", "0.0.0.0", "7500", image=self.image)
        pair.wait_port(7500)
        pair.client_container(self.image)
        return pair

    def latencies(self, pair, running):
        """Microseconds of connect + byte + close, and of round trips, over and over."""
        connects, trips = [], []
        while not connects or running():
            for what, count, found in (("connect", 200, connects), ("trip", 2000, trips)):
                found.append(float(pair.call(self.image, "rates", "client", pair.address, "7500",
                                             what, str(count))))
        return statistics.median(connects), statistics.median(trips)

    def attack(self, *modes, configs=(None, None)):
        """The modes at once from one pod against another and itself, while bystanders go on."""
        bystanders, pair = self.bystanders(), self.pair(configs=configs)
        pair.serve("server", "hostile", "serve", str(PORT), image=self.image)
        pair.wait_port(PORT)
        pair.client_container(self.image)
        shims = [*bystanders.shims(), *pair.shims()]
        before = self.latencies(bystanders, lambda: False)

        def run(mode):
            result = self.cri.exec(pair.client_container(self.image), "hostile", mode, pair.address,
                                   str(PORT), str(SECONDS), timeout=SECONDS + 60)
            self.assertEqual(0, result.exit_code, f"{mode}: {result.stdout}{result.stderr}")

        with concurrent.futures.ThreadPoolExecutor() as pool:
            runs = [pool.submit(run, mode) for mode in modes]
            during = self.latencies(bystanders, lambda: not all(each.done() for each in runs))
            for each in runs:
                each.result()
        print(f"\n    {', '.join(modes)}: bystanders connect {before[0]:.0f} -> {during[0]:.0f} us, round"
              f" trip {before[1]:.1f} -> {during[1]:.1f} us; {self.paths(pair.client)}", end=" ")
        # The same processes, which still do what they should.
        self.assertEqual(shims, [*bystanders.shims(), *pair.shims()])
        for each, server in ((bystanders, 7500), (pair, PORT)):
            had = self.paths(each.client)
            each.call(self.image, "rates", "client", bystanders.address, "7500", "connect", "100")
            # Where they take long, those of short life are left to the kernel sooner or later.
            has = self.paths(each.client)
            made = {path: has.get(path, 0) - had.get(path, 0)
                    for path in ("upgraded", "short-lived", *LATE)}
            self.assertEqual(100, sum(made.values()), (server, had, has))
        self.nothing_left(pair)
        return before, during

    def nothing_left(self, pair):
        shim = pair.shims()[1]
        wait_until(lambda: not any(leftovers.in_private_namespace(shim).values())
                   and not leftovers.open_lines(self.node), "end of all connections", 20, interval=0.1)

    def test_wild_arguments(self):
        self.attack("wild", "rewrite")

    def test_races(self):
        self.attack("race")

    def test_killed_at_each_step(self):
        self.attack("killed", "killed")

    def test_all_over_tcp_pairs(self):
        self.attack("wild", "rewrite", "race", "killed", configs=TCP_PAIRS)

    def test_flood(self):
        """Two pods' worth of CPUs are taken by the flood, and the bystanders share what there is with
        eight busy threads and their shim; beyond that they must not suffer."""
        (_, quiet), (_, flooded) = self.attack("flood")
        fair = self.busy_neighbour()
        print(f"\n    round trip beside eight threads that only compute: {fair:.1f} us", end=" ")
        self.assertLess(flooded, 3 * max(fair, quiet))

    def busy_neighbour(self):
        """A bystander's round trip beside eight busy threads that are not trapped."""
        bystanders, pair = self.bystanders(), self.pair()
        container = pair.client_container(self.image)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            runs = [pool.submit(self.cri.exec, container, "timeout", str(SECONDS), "sh", "-c",
                                "while :; do :; done", timeout=SECONDS + 60) for _ in range(8)]
            _, trip = self.latencies(bystanders, lambda: not all(each.done() for each in runs))
        return trip

    def test_smuggling(self):
        """Two pods that work together to pass descriptors and credentials."""
        for configs in ((None, None), TCP_PAIRS):
            pair = self.enterContext(PodPair(self.node, "shunt", configs))
            receiver = pair.serve("receiver", "hostile", "receive", str(PORT), image=self.image)
            pair.wait_port(PORT)
            pair.call(self.image, "hostile", "smuggle", pair.address, str(PORT), timeout=60)
            wait_until(lambda: len(receiver.log()) >= 10, "10 connections")  # noqa: B023
            counts = [json.loads(line) for _, line in receiver.log()]
            self.assert_upgraded(10, self.paths(pair.client))
            total = {key: sum(each[key] for each in counts) for key in counts[0]}
            print(f"\n    {total}", end=" ")
            self.assertEqual({"rights": 0, "pidfd": 0, "credentials": 0, "bytes": 80}, total)


if __name__ == "__main__":
    harness.main()
