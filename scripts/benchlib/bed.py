"""What suites about two pods that talk have in common: the servers of load.c in one, its clients in the
other, and what they measure."""

import concurrent.futures
import contextlib
import errno
import json
import os
import select
import time

from lib import proc
from lib.node import wait_until
from lib.pair import inspected

from . import load
from .cpu import cgroup_seconds, pin, prefer, process_seconds
from .measure import Measure

# For pods that have every connection upgraded, those that only lose by it, too.
EVERY = {"upgrade": {"short_lived": "upgrade"}}
PORTS = {"serve": 7000, "answer": 7001, "keep": 7002}  # of the servers
TRAPPED_PORT = 7003  # of `load trapped answer`
GB = 1e9
KIB = 1024


class Variant:
    """One way between two pods: a PodPair, and how a client in one addresses a server in the other.
    With `trapped` connects and accepts are trapped, and the answer is nothing but `go on`."""

    def __init__(self, name, pair, trapped=False):
        self.name = name
        self.pair = pair
        self.trapped = trapped

    def address(self, server):
        return f"{self.pair.address}:{TRAPPED_PORT if self.trapped else PORTS[server]}"

    def cpu_seconds(self):
        """CPU seconds of all pods of the pair's nodes and of this pair's shims; other pods are idle
        meanwhile."""
        nodes = {self.pair.node.name, self.pair.client_node.name}
        return sum(map(cgroup_seconds, nodes)) + sum(map(process_seconds, self.pair.shims()))


class Bed:
    """`variants`, and how to measure one. Pods of a variant that has no turn sleep."""

    def __init__(self):
        self.load = load.image()
        self.variants = {}
        self._cpus = None  # on how many a client must find itself
        self._turns = {}  # id of a pair -> descriptors to ask and to be answered

    def serve(self, pair):
        """Starts the servers of load.c, and the container of its clients."""
        for server, port in PORTS.items():
            pair.serve(server, "load", server, f"0.0.0.0:{port}", image=self.load)
        for port in PORTS.values():
            pair.wait_port(port)
        pair.client_container(self.load)

    def pairs(self):
        return {id(variant.pair): variant.pair for variant in self.variants.values()}.values()

    def one_cpu(self):
        """Shims and pods, and so everything that they start, on one CPU."""
        first = min(os.sched_getaffinity(0))
        return self._pinned(first, first)

    def a_cpu_each(self):
        """The server's pod and its shim on one CPU, the client's and its shim on another."""
        first, second, *_ = sorted(os.sched_getaffinity(0))
        return self._pinned(first, second)

    @contextlib.contextmanager
    def preferred(self):
        """Whatever else runs on the machine gets next to nothing of a CPU that pods or shims want."""
        groups = {node.name for pair in self.pairs() for node in (pair.node, pair.client_node)}
        with prefer(groups, [shim for pair in self.pairs() for shim in pair.shims()]):
            yield

    @contextlib.contextmanager
    def _pinned(self, server, client):
        everywhere = os.sched_getaffinity(0)
        self._cpus = 1
        try:
            for pair in self.pairs():
                pin(pair.processes_of(pair.server), {server})
                pin(pair.processes_of(pair.client), {client})
            yield
        finally:
            self._cpus = None
            for pair in self.pairs():
                pin(pair.processes(), everywhere)

    def take_turns(self, pair):
        """Starts the client in the pair's client pod that short_turn() needs."""
        names = ("turn-asked", "turn-done")
        fifos = [os.path.join(pair.shared, name) for name in names]
        for fifo in fifos:
            os.mkfifo(fifo)
        pair.run_client("turns", "load", "turns", *(f"/shared/{name}" for name in names),
                        image=self.load)
        self._turns[id(pair)] = [os.open(fifo, os.O_RDWR | os.O_CLOEXEC) for fifo in fifos]

    # One measurement each

    def short_turn(self, variant, what, server, *arguments):
        """run_load, without an exec, which takes longer than what is measured."""
        ask, answer = self._turns[id(variant.pair)]
        line = " ".join([what, variant.address(server), *map(str, arguments)])
        os.write(ask, f"{line}\n".encode())
        if not select.select([answer], [], [], 30)[0]:
            raise TimeoutError(f"{variant.name}: no answer to {line!r}")
        result = json.loads(os.read(answer, 4096))
        if result is None:
            raise RuntimeError(f"{variant.name}: {line!r} failed, see the container's log")
        self._check_cpus(variant, result)
        return result

    def run_load(self, variant, what, server, *arguments, gate=None):
        command = ["load", *(["trapped"] if variant.trapped else []), what,
                   variant.address(server), *map(str, arguments)]
        if gate:
            command = ["env", f"GATE={gate}", *command]
        text = variant.pair.call(self.load, *command)
        result = json.loads(text)
        self._check_cpus(variant, result)
        return result

    def _check_cpus(self, variant, result):
        if self._cpus and result["cpus"] != self._cpus:
            raise RuntimeError(f"{variant.name}: the client ran on {result['cpus']} CPUs")

    def charged(self, variant, what, server, *arguments):
        """run_load, with the CPU seconds of pods and shims as "cpu", counted from when the client
        is ready to connect: what it takes to start it is not part of it."""
        gate = os.path.join(variant.pair.shared, "gate")
        if not os.path.exists(gate):
            os.mkfifo(gate)
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            running = executor.submit(self.run_load, variant, what, server, *arguments,
                                      gate="/shared/gate")
            opened = wait_until(lambda: running.done() or _reader_of(gate),
                                "client at its gate", 30)
            if opened is True:
                running.result()
                raise RuntimeError("the client did not wait at its gate")
            before = variant.cpu_seconds()
            with opened:
                opened.write(b"x")
            result = running.result()
        return {**result, "cpu": variant.cpu_seconds() - before}

    def data_cpu(self, variant, seconds):
        """What a round trip and a stream cost in CPU time."""
        result = self.charged(variant, "echo", "serve", 64, seconds)
        # A tenth more was done before counting began.
        found = {"echo 64 cpu": 1e6 * result["cpu"] / (1.1 * result["operations"])}
        result = self.charged(variant, "stream", "serve", 65536, seconds)
        found["stream 65536 cpu"] = result["cpu"] / (result["bytes"] / GB)
        return found

    def connects(self, variant, seconds):
        """Connections of one byte to and fro, one after the other."""
        result = self.charged(variant, "connect", "answer", seconds)
        return {"connect": 1e6 * result["seconds"] / result["operations"],
                "connect cpu": 1e6 * result["cpu"] / result["operations"]}

    def data_in_turns(self, variant, seconds=0.01, streams=("stream",)):
        """Round trips and streams on connections that last a moment: "stream" is what the client
        writes, "download" what the server does. In many rounds of it two variants that hardly differ can be told apart to half a percent, on a machine that is not idle, too.
        Buffers that grow by themselves need some 20 ms to do so."""
        found = {}
        for size in (64, 1024):
            result = self.short_turn(variant, "echo", "serve", size, seconds)
            found[f"echo {size}"] = 1e6 * result["seconds"] / result["operations"]
        for what in streams:
            for size in (65536, 64):
                result = self.short_turn(variant, what, "serve", size, seconds)
                found[f"{what} {size}"] = result["bytes"] / result["seconds"] / GB
        return found

    def held(self, variant, count, idle_seconds=0):
        """What many connections at once cost the shims, and their CPU time while nothing happens."""
        shims = variant.pair.shims()
        before = [(proc.memory(shim)["rss"], _descriptors(shim)) for shim in shims]
        fifo = os.path.join(variant.pair.shared, "held")
        if not os.path.exists(fifo):
            os.mkfifo(fifo)
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            running = executor.submit(self.run_load, variant, "hold", "keep", count, "/shared/held")
            opened = wait_until(lambda: running.done() or _reader_of(fifo),
                                f"{count} connections", 60)
            if opened is True:
                running.result()
                raise RuntimeError("the client did not hold its connections")
            with opened:
                after = [(proc.memory(shim)["rss"], _descriptors(shim)) for shim in shims]
                spent = sum(map(process_seconds, shims))
                time.sleep(idle_seconds)
                spent = sum(map(process_seconds, shims)) - spent
                started = time.perf_counter()
                client, = inspected(variant.pair.client_node, variant.pair.client.id)
                seconds = time.perf_counter() - started
            result = running.result()
        growth = max(then[0] - now[0] for now, then in zip(before, after))
        return {
            "rss": growth / KIB,
            "rss each": growth / count,
            "descriptors": max(then[1] - now[1] for now, then in zip(before, after)),
            "idle": 100 * spent / idle_seconds if idle_seconds else 0.0,
            "inspect": seconds,
            "shown": len(client["connections"]),
            "connect": 1e6 * result["seconds"] / count,
        }


def data_cpu_measures(bars=()):
    """What Bed.data_cpu() gives."""
    return [Measure("echo 64 cpu", "round trip, 64 B", "µs"),
            Measure("stream 65536 cpu", "stream, 64 KiB writes", "s/GB", list(bars))]


def connect_measures(bars=()):
    """What Bed.connects() gives."""
    return [Measure("connect", "connect, 1 B to and fro, close", "µs", list(bars)),
            Measure("connect cpu", "  CPU of pods and shims", "µs")]


def _descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def _reader_of(fifo):
    """The fifo, opened for writing; None as long as nobody reads."""
    try:
        return os.fdopen(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), "wb")
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
