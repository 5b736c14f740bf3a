"""Two pods of one node that talk over TCP: runc and a CNI bridge, Shunt with both kinds of pair,
and a raw AF_UNIX socket between two runc pods as the limit of what can be reached."""

import concurrent.futures
import contextlib
import errno
import json
import os
import re
import tempfile
import time

from lib import Node, Skip, paths, proc
from lib.images import Image
from lib.node import wait_until
from lib.pair import PodPair, inspected

from .. import load
from ..cpu import cgroup_seconds, pin, process_seconds
from ..measure import Bar, Measure

SUMMARY = "two pods of a node: round trips, streams, connects, Redis, nginx, memcached"

GB = 1e9
KIB = 1024
HELD = 10000  # connections that one pod holds at once
PORTS = {"serve": 7000, "answer": 7001, "keep": 7002, "redis": 6379, "nginx": 8080,
         "memcached": 11211}

RUNC, SHUNT, TCP_PAIR, LIMIT, KERNEL = "runc", "shunt", "tcp pair", "AF_UNIX", "shunt, kernel path"
HANDLED = (SHUNT, TCP_PAIR, KERNEL)  # variants whose pods run under Shunt

_NGINX = """\
daemon off; user root; pid /tmp/nginx.pid; error_log stderr; worker_processes 1;
events { worker_connections 512; }
http { access_log off; sendfile on; keepalive_requests 1000000000; default_type text/plain;
       client_body_temp_path /tmp/1; proxy_temp_path /tmp/2; fastcgi_temp_path /tmp/3;
       uwsgi_temp_path /tmp/4; scgi_temp_path /tmp/5;
       server { listen 8080; root /www; } }
"""


class Variant:
    """One way between two pods: the pods, and how a client in one addresses a server in the other.
    With `limit` it is a socket file that both pods see."""

    def __init__(self, name, pair, limit=False):
        self.name = name
        self.pair = pair
        self.limit = limit

    def address(self, server):
        return f"/shared/{server}" if self.limit else f"{self.pair.address}:{PORTS[server]}"

    def cpu_seconds(self, node):
        """CPU seconds of all pods and of this pair's shims; other pods are idle meanwhile."""
        return cgroup_seconds(node.name) + sum(map(process_seconds, self.pair.shims()))


class Bed:
    """All pods on a node, with their servers running. Pods of a variant that has no turn sleep."""

    def __init__(self, node, folder, stack):
        self.node = node
        self.images = _images()
        self.load = self.images["load"]
        runc = self._pair(RUNC, "runc", folder, stack)
        self.variants = {RUNC: Variant(RUNC, runc), LIMIT: Variant(LIMIT, runc, limit=True)}
        # With state directories of their own two pods do not know each other: both are supervised,
        # their calls are trapped, and every connection between them stays what it is.
        apart = {"state": os.path.join(node.dir, "apart")}
        tcp_pair = {"upgrade": {"pair": "tcp"}}
        for name, configs in ((SHUNT, (None, None)), (TCP_PAIR, (tcp_pair, tcp_pair)),
                              (KERNEL, (apart, None))):
            self.variants[name] = Variant(name, self._pair(name, "shunt", folder, stack, configs))

    def _pair(self, name, handler, folder, stack, configs=(None, None)):
        shared = os.path.join(folder, name.replace(" ", "").replace(",", "-"))
        os.mkdir(shared, 0o777)
        pair = stack.enter_context(PodPair(self.node, handler, configs, shared))
        for server in ("serve", "answer", "keep"):
            pair.serve(server, "load", server, f"0.0.0.0:{PORTS[server]}", image=self.load)
            if name == RUNC:
                pair.serve(f"{server}-limit", "load", server, f"/shared/{server}", image=self.load)
        if name != KERNEL:
            pair.serve("redis", "redis-server", "--save", "", "--protected-mode", "no",
                       "--unixsocket", "/shared/redis", image="redis")
            pair.serve("nginx", "nginx", "-c", "/etc/nginx.conf", image=self.images["nginx"])
            pair.serve("memcached", "memcached", "-u", "root", "-t", "1", "-l", "0.0.0.0",
                       image=self.images["memcached"])
        for server, port in PORTS.items():
            if name != KERNEL or server in ("serve", "answer", "keep"):
                pair.wait_port(port)
        if name == RUNC:
            for server in ("serve", "answer", "redis"):
                wait_until(lambda server=server: os.path.exists(os.path.join(shared, server)),
                           f"socket of {server}")
        for image in (self.load, "redis", self.images["wrk"]):
            pair.client_container(image)
        return pair

    def pairs(self):
        return {id(variant.pair): variant.pair for variant in self.variants.values()}.values()

    @contextlib.contextmanager
    def one_cpu(self):
        """Shims and pods, and so everything that they start, on one CPU."""
        everywhere = os.sched_getaffinity(0)
        self.cpus = 1
        try:
            for pair in self.pairs():
                pin(pair.processes(), {min(everywhere)})
            yield
        finally:
            self.cpus = None
            for pair in self.pairs():
                pin(pair.processes(), everywhere)

    cpus = None

    # One measurement each

    def run_load(self, variant, what, server, *arguments, gate=None):
        command = ["load", what, variant.address(server), *map(str, arguments)]
        if gate:
            command = ["env", f"GATE={gate}", *command]
        text = variant.pair.call(self.load, *command)
        result = json.loads(text)
        if self.cpus and result["cpus"] != self.cpus:
            raise RuntimeError(f"{variant.name}: the client ran on {result['cpus']} CPUs")
        return result

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
            before = variant.cpu_seconds(self.node)
            with opened:
                opened.write(b"x")
            result = running.result()
        return {**result, "cpu": variant.cpu_seconds(self.node) - before}

    def sockets(self, variant, seconds):
        """Round trips, streams, connects by load.c."""
        found = {}
        for size in (64, 1024):
            result = self.charged(variant, "echo", "serve", size, seconds)
            found[f"echo {size}"] = 1e6 * result["seconds"] / result["operations"]
            # A tenth more was done before counting began.
            found[f"echo {size} cpu"] = 1e6 * result["cpu"] / (1.1 * result["operations"])
        for size in (65536, 64):
            result = self.charged(variant, "stream", "serve", size, seconds)
            found[f"stream {size}"] = result["bytes"] / result["seconds"] / GB
            found[f"stream {size} cpu"] = result["cpu"] / (result["bytes"] / GB)
        result = self.charged(variant, "connect", "answer", seconds)
        found["connect"] = 1e6 * result["seconds"] / result["operations"]
        found["connect cpu"] = 1e6 * result["cpu"] / result["operations"]
        return found

    def held(self, variant):
        """What many connections at once cost the shims."""
        shims = variant.pair.shims()
        before = [(proc.memory(shim)["rss"], _descriptors(shim)) for shim in shims]
        fifo = os.path.join(variant.pair.shared, "held")
        if not os.path.exists(fifo):
            os.mkfifo(fifo)
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            running = executor.submit(self.run_load, variant, "hold", "keep", HELD, "/shared/held")
            opened = wait_until(lambda: running.done() or _reader_of(fifo),
                                f"{HELD} connections", 60)
            if opened is True:
                running.result()
                raise RuntimeError("the client did not hold its connections")
            with opened:
                after = [(proc.memory(shim)["rss"], _descriptors(shim)) for shim in shims]
                started = time.perf_counter()
                client, = inspected(self.node, variant.pair.client.id)
                seconds = time.perf_counter() - started
            result = running.result()
        return {
            "rss": max((then[0] - now[0]) / KIB for now, then in zip(before, after)),
            "descriptors": max(then[1] - now[1] for now, then in zip(before, after)),
            "inspect": seconds,
            "shown": len(client["connections"]),
            "connect": 1e6 * result["seconds"] / HELD,
        }

    def redis(self, variant, requests):
        """`requests`: {clients: how many}"""
        target = (["-s", "/shared/redis"] if variant.limit else ["-h", variant.pair.address])
        found = {}
        for clients, count in requests.items():
            csv = variant.pair.call("redis", "redis-benchmark", *target, "-t", "set,get", "-n",
                                    str(count), "-c", str(clients), "--csv")
            for line in csv.splitlines()[1:]:
                name, rate, *_ = line.replace('"', "").split(",")
                found[f"{name} {clients}"] = float(rate)
        return found

    def web(self, variant, seconds):
        seconds = max(1, round(seconds))  # whole seconds are all that wrk takes
        text = variant.pair.call(self.images["wrk"], "wrk", "-t1", "-c50", f"-d{seconds}",
                                 f"http://{variant.address('nginx')}/")
        if "Non-2xx" in text or "Socket errors" in text:
            raise RuntimeError(f"wrk, {variant.name}: {text}")
        cached = self.run_load(variant, "memcached", "memcached", 50, seconds)
        return {"nginx": float(re.search(r"Requests/sec:\s*([\d.]+)", text).group(1)),
                "memcached": cached["operations"] / cached["seconds"]}


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


def _images():
    return {
        "load": load.image(),
        "nginx": Image("nginx", packages=("nginx",), programs=("nginx",), files=(
            ("/etc/nginx.conf", 0o644, _NGINX),
            ("/www/index.html", 0o644, "x" * 611 + "\n"),
            ("/var/log/nginx/error.log", 0o644, ""))),
        "wrk": Image("wrk", packages=("wrk", "libluajit-5.1-2"), programs=("wrk",)),
        "memcached": Image("memcached", packages=("memcached", "libevent-2.1-7", "libsasl2-2"),
                           programs=("memcached",)),
    }


def _socket_measures(one_cpu):
    def bars(*promises):  # promises are about one CPU, the length of the path
        return [Bar(variant, against=against, **limit)
                for variant, against, limit in promises if one_cpu]

    trip = bars((SHUNT, RUNC, {"at_most": 0.60}), (SHUNT, LIMIT, {"at_most": 1.05}),
                (TCP_PAIR, RUNC, {"at_most": 0.85}))
    large = bars((SHUNT, RUNC, {"at_least": 5}), (SHUNT, LIMIT, {"at_least": 0.95}),
                 (TCP_PAIR, RUNC, {"at_least": 1.5}))
    small = bars((SHUNT, RUNC, {"at_least": 1.0}), (SHUNT, LIMIT, {"at_least": 0.95}),
                 (TCP_PAIR, RUNC, {"at_least": 2}))
    return [
        Measure("echo 64", "round trip, 64 B", "µs", trip),
        Measure("echo 64 cpu", "  CPU of pods and shims", "µs"),
        Measure("echo 1024", "round trip, 1 KiB", "µs", list(trip)),
        Measure("stream 65536", "stream, 64 KiB writes", "GB/s", large),
        Measure("stream 65536 cpu", "  CPU of pods and shims", "s/GB",
                [Bar(SHUNT, against=RUNC, at_most=0.20)]),
        Measure("stream 64", "stream, 64 B writes", "GB/s", small),
        Measure("connect", "connect, 1 B to and fro, close", "µs",
                bars((SHUNT, RUNC, {"at_most": 1.7, "goal": 1.3}))),
        Measure("connect cpu", "  CPU of pods and shims", "µs"),
    ]


def _kernel_measures():
    def bar(**limit):
        return [Bar(KERNEL, against=RUNC, **limit)]

    return [
        Measure("echo 64", "round trip, 64 B", "µs", bar(at_most=1.02)),
        Measure("echo 64 cpu", "  CPU of pods and shims", "µs"),
        Measure("echo 1024", "round trip, 1 KiB", "µs", bar(at_most=1.02)),
        Measure("stream 65536", "stream, 64 KiB writes", "GB/s", bar(at_least=0.98)),
        Measure("stream 65536 cpu", "  CPU of pods and shims", "s/GB"),
        Measure("stream 64", "stream, 64 B writes", "GB/s", bar(at_least=0.98)),
        Measure("connect", "connect, 1 B to and fro, close", "µs", bar(at_most=1.25)),
        Measure("connect cpu", "  CPU of pods and shims", "µs"),
    ]


def _redis_measures(clients, one_cpu):
    promised = [Bar(SHUNT, against=RUNC, at_least=1.4), Bar(SHUNT, against=LIMIT, at_least=0.95)]
    return [
        Measure(f"{name} {count}", f"Redis {name}, {count} client{'s' if count > 1 else ''}", "1/s",
                list(promised) if one_cpu else [])
        for count in clients for name in ("SET", "GET")
    ]


def _held_measures():
    return [
        Measure("rss", "RSS, the shim that grew more", "MiB", [Bar(SHUNT, at_most=2)]),
        Measure("descriptors", "descriptors, the shim that got more", "", [Bar(SHUNT, at_most=16)]),
        Measure("inspect", "shunt inspect -o json of the client's pod", "s",
                [Bar(SHUNT, at_most=1)]),
        Measure("shown", "fast connections that it shows", "", [Bar(SHUNT, at_least=HELD)]),
        Measure("connect", "connecting, each", "µs"),
    ]


def _web_measures(one_cpu):
    bars = [Bar(SHUNT, against=RUNC, at_least=1.3)] if one_cpu else []
    return [Measure("nginx", "nginx + wrk, keep-alive, 50 connections", "1/s", list(bars)),
            Measure("memcached", "memcached get, 50 connections", "1/s", list(bars))]


def _measure(bench, bed, where, one_cpu):
    def turns(names, function):
        return {name: lambda name=name: function(bed.variants[name]) for name in names}

    seconds = bench.pick(1.0, 0.3)
    bench.compare(f"sockets, {where}",
                  turns((RUNC, SHUNT, TCP_PAIR, LIMIT), lambda v: bed.sockets(v, seconds)),
                  _socket_measures(one_cpu))
    requests = {1: 20000, 3: 30000, 50: 50000} if one_cpu else {1: 20000, 50: 50000}
    requests = {clients: bench.pick(count, count // 4) for clients, count in requests.items()}
    bench.compare(f"Redis, {where}",
                  turns((RUNC, SHUNT, TCP_PAIR, LIMIT), lambda v: bed.redis(v, requests)),
                  _redis_measures(requests, one_cpu))
    bench.compare(f"nginx and memcached, {where}",
                  turns((RUNC, SHUNT, TCP_PAIR), lambda v: bed.web(v, bench.pick(2, 1))),
                  _web_measures(one_cpu))
    if one_cpu:
        bench.compare(f"pods whose connections are never replaced, {where}",
                      turns((RUNC, KERNEL), lambda v: bed.sockets(v, seconds)),
                      _kernel_measures())


def _measure_held(bench, bed):
    bench.compare(f"growth with {HELD} connections held",
                  {SHUNT: lambda: bed.held(bed.variants[SHUNT])}, _held_measures(),
                  rounds=bench.pick(5, 2), warm_up=0)


def _note_paths(bench, bed):
    """What became of the connections: a figure of a variant that was not fast would mislead."""
    pods = {pod["pod"]["id"]: pod for pod in inspected(bed.node)}
    for name in HANDLED:
        pod = pods[bed.variants[name].pair.client.id]
        paths_taken = {each["path"]: each["count"] for each in pod["paths"] if each["count"]}
        total = sum(paths_taken.values())
        fast = paths_taken.pop("upgraded", 0)
        others = ", ".join(f"{count} {path}" for path, count in paths_taken.items())
        bench.note(f"{name}: {fast} of {total} connections were fast"
                   + (f"; the others: {others}" if others else ""))


def run(bench):
    if not os.path.exists(paths.shim_binary()):
        raise Skip(f"{paths.shim_binary()} is not built; run "
                   "cmake --preset release && cmake --build --preset release")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="shunt-bench-"))
        node = stack.enter_context(Node())
        bed = Bed(node, folder, stack)
        try:
            with bed.one_cpu():
                _measure(bench, bed, "one CPU", True)
            _measure(bench, bed, "all CPUs", False)
            _measure_held(bench, bed)
        finally:
            _note_paths(bench, bed)
