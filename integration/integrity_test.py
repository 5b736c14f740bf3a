#!/usr/bin/python3
"""Every byte of many connections arrives, once and in order, whatever dies meanwhile; and nothing is
left of them. measure/integrity.c sends and looks. SHUNT_LONG=1: 100,000 connections and 50 GB for
each kind of pair."""

import concurrent.futures
import json
import os
import tempfile
import threading
import time

import harness
import leftovers
from harness import LONG, QUICK
from lib import fabrics, programs
from pods import ACCEPTED_FAST, Image, PodPair, PodTest, wait_until

_SOURCE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "measure", "integrity.c")
PORT, KILLING_PORT = 7300, 7310
# Connections and megabytes of each part.
AMOUNTS = {
    "undisturbed": (60000, 30000) if LONG else (300, 100) if QUICK else (1500, 600),
    "processes killed": (30000, 15000) if LONG else (200, 50) if QUICK else (1000, 300),
    "pods restarted": (10000, 5000) if LONG else (100, 50) if QUICK else (500, 200),
}
KILL_MS = 20
RESTARTS = 20 if LONG else 2
MEMORY_SLACK_KIB = 256
FIRST_USE = 2  # descriptors that are opened when they are needed for the first time
PATIENCE = 900 if LONG else 120


class Integrity(PodTest):
    amounts = AMOUNTS

    def configuration(self, kind):
        return {"upgrade": {"pair": kind, "short_lived": "upgrade"}}

    def start(self, kind):
        config = self.configuration(kind)
        self.image = Image("integrity", files=(("/usr/bin/integrity", 0o755,
                                                programs.contents(_SOURCE)),))
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="shunt-integrity-"))
        os.chmod(self.folder, 0o755)
        self.configs = (config, config)
        pair = self.pair(configs=self.configs, shared=self.folder)
        self.servers = [
            pair.serve("server", "integrity", "serve", str(PORT), "4", image=self.image),
            pair.serve("killing", "integrity", "serve", str(KILLING_PORT), "4", str(KILL_MS),
                       image=self.image)]
        for port in (PORT, KILLING_PORT):
            pair.wait_port(port)
            pair.wait_port(port + 1)
        pair.client_container(self.image)
        self.publish(pair.address)
        return pair

    def publish(self, address):
        """Where clients connect to from now on."""
        with open(os.path.join(self.folder, "new"), "w", encoding="ascii") as file:
            file.write(address + "\n")
        os.rename(os.path.join(self.folder, "new"), os.path.join(self.folder, "address"))

    def run_clients(self, pair, port, connections, megabytes, kill_ms=0):
        text = pair.call(self.image, "integrity", "run", "/shared/address", str(port), "1", "8",
                         str(connections), str(megabytes), str(kill_ms), timeout=PATIENCE)
        return json.loads(text)

    def served(self, container):
        """The server's counts, as it prints them when asked."""
        before = len(container.log())
        self.cri.exec(container, "kill", "-USR1", "1")
        wait_until(lambda: len(container.log()) > before, "the server's counts")
        return json.loads(container.log()[-1][1])

    def nothing_left(self, pair):
        """All fast sockets are gone, every mailbox is empty, every connection is decided."""
        def left():
            found = [thing for shim in pair.shims()
                     for things in leftovers.in_private_namespace(shim).values() for thing in things]
            return found + [line for node in {pair.node, pair.client_node}
                            for line in leftovers.open_lines(node)]

        try:
            wait_until(lambda: not left(), "end of all connections", 15, interval=0.1)
        except TimeoutError:
            self.fail(f"left: {left()}")

    def figures(self, pair):
        """Of both shims: what must not grow."""
        found = []
        for shim, pod in zip(pair.shims(), (pair.server, pair.client)):
            found.append(leftovers.figures(shim))
            found[-1]["descriptors"] -= leftovers.made_ahead(pod.node, pod)
        return found

    def check(self, what, kind):
        pair = self.start(kind)
        warm = self.amounts[what][0] // 10, self.amounts[what][1] // 10
        self.run_clients(pair, KILLING_PORT, *warm, KILL_MS)
        self.run_clients(pair, PORT, *warm)
        self.nothing_left(pair)
        before = self.figures(pair)
        began = time.monotonic()
        counts = {"undisturbed": self.undisturbed, "processes killed": self.killed,
                  "pods restarted": self.restarted}[what](pair, *self.amounts[what])
        print(f"\n    {kind}, {what}: {counts}, {time.monotonic() - began:.0f} s", end="", flush=True)
        for side in counts.values():
            self.assertEqual((0, 0), (side["wrong"], side["stuck"]))
        self.nothing_left(pair)

        def back():
            return all(new["descriptors"] <= old["descriptors"] + FIRST_USE
                       and new["threads"] <= old["threads"]
                       for old, new in zip(before, self.figures(pair)))

        try:
            wait_until(back, "return to the figures before", 10, interval=0.1)
        finally:
            after = self.figures(pair)
            for old, new in zip(before, after):
                print(f"\n      shim: {old} -> {new}", end="", flush=True)
        for old, new in zip(before, after):
            self.assertLessEqual(new["anonymous KiB"], old["anonymous KiB"] + MEMORY_SLACK_KIB)
        paths = self.paths(pair.client)
        print(f"\n      {paths}", end=" ", flush=True)
        # Of those whose clients lived until they were connected.
        made = sum(paths.values()) - sum(
            paths.get(path, 0) for path in ("connect-failed", "slow-handshake", "interrupted"))
        self.assertGreater(sum(paths.get(path, 0) for path in fabrics.FAST), 0.95 * made)

    def undisturbed(self, pair, connections, megabytes):
        before = self.served(self.servers[0])
        client = self.run_clients(pair, PORT, connections, megabytes)
        server = {key: value - before[key] for key, value in self.served(self.servers[0]).items()}
        self.assertEqual((connections, 0, 0), (client["complete"], client["cut"], client["refused"]))
        self.assertEqual((connections, 0), (server["complete"], server["cut"]))
        self.assertGreater(client["bytes"] + server["bytes"], 0.8e6 * megabytes)
        return {"client": client, "server": server}

    def killed(self, pair, connections, megabytes):
        """A process of each side is killed every KILL_MS; others do its work again."""
        client = self.run_clients(pair, KILLING_PORT, connections, megabytes, KILL_MS)
        server = self.served(self.servers[1])
        self.assertGreaterEqual(client["complete"], connections)
        self.assertGreater(client["killed"], 10)
        self.assertGreater(client["cut"], 0)
        self.assertEqual(0, client["refused"], "somebody always listens")
        return {"client": client, "server": server}

    def restarted(self, pair, connections, megabytes):
        """Twins of the server's pod take over and are removed in the middle of it, and so are their own
        clients' pods. Meanwhile clients are cut off, refused, or find nobody at the address."""
        restarts_over = threading.Event()
        counts = {}

        def keep_running():
            while not restarts_over.is_set() or counts["complete"] < connections:
                for key, value in self.run_clients(pair, PORT, connections, megabytes).items():
                    counts[key] = counts.get(key, 0) + value

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            running = pool.submit(keep_running)
            try:
                for _ in range(RESTARTS):
                    self.restart_once(pair, pool, connections, megabytes)
            finally:
                restarts_over.set()
            running.result()
        print(f"\n      {2 * RESTARTS} pods removed", end="")
        self.assertGreater(counts["cut"], 0)
        return {"client": counts, "server": self.served(self.servers[0])}

    def restart_once(self, pair, pool, connections, megabytes):
        with PodPair(self.node, "shunt", self.configs, self.folder, self.client_node) as twin:
            twin.serve("server", "integrity", "serve", str(PORT), "4", image=self.image)
            twin.wait_port(PORT)
            twin.wait_port(PORT + 1)
            twin.client_container(self.image)
            self.publish(twin.address)
            cut = pool.submit(self.cut_off, twin, connections, megabytes)
            try:
                wait_until(lambda: sum(self.paths(twin.server).get(path, 0)
                                       for path in ACCEPTED_FAST) > 20,
                           "connections to the new pod", 30)
            except TimeoutError:
                self.publish(pair.address)  # the others, too, are to come to an end
                raise
        self.publish(pair.address)
        cut.result()

    def cut_off(self, pair, connections, megabytes):
        """Clients that never come to an end."""
        import grpc

        try:
            self.run_clients(pair, PORT, 10 * connections, 10 * megabytes)
        except (grpc.RpcError, RuntimeError, json.JSONDecodeError):
            pass  # as it should be

    def test_undisturbed_unix(self):
        self.check("undisturbed", "unix")

    def test_undisturbed_tcp(self):
        self.check("undisturbed", "tcp")

    def test_processes_killed_unix(self):
        self.check("processes killed", "unix")

    def test_processes_killed_tcp(self):
        self.check("processes killed", "tcp")

    def test_pods_restarted_unix(self):
        self.check("pods restarted", "unix")

    def test_pods_restarted_tcp(self):
        self.check("pods restarted", "tcp")


if __name__ == "__main__":
    harness.main()
