"""Two pods of one node that talk over TCP: runc and a CNI bridge, Shunt with both kinds of pair,
and a raw AF_UNIX socket between two runc pods as the limit of what can be reached."""

import contextlib
import os
import re
import tempfile

from lib import Node, Skip, paths
from lib.images import Image
from lib.node import wait_until
from lib.pair import PodPair, inspected

from .. import bed
from ..measure import Bar, Measure

SUMMARY = "two pods of a node: round trips, streams, connects, Redis, nginx, memcached"

# Seconds of a turn where the scheduler chooses CPUs. Ratios of turns of 10 ms were anything between
# 0.8 and 1.2 there, from run to run; probably both ends have not found their CPUs yet.
SETTLED = 0.1
BOTH_WAYS = ("stream", "download")
HELD = 10000  # connections that one pod holds at once
PORTS = {**bed.PORTS, "redis": 6379, "nginx": 8080, "memcached": 11211}

RUNC, SHUNT, TCP_PAIR, LIMIT, KERNEL = "runc", "shunt", "tcp pair", "AF_UNIX", "shunt, kernel path"
# Without containerd's seccomp profile, which all others have.
RUNC_BARE, KERNEL_BARE = "runc, no profile", "shunt, kernel path, no profile"
EVERY = "shunt, every one upgraded"
TRAPS = "runc, calls trapped"  # what the kernel takes for two traps a connection: the least there is
HANDLED = (SHUNT, EVERY, TCP_PAIR, KERNEL, KERNEL_BARE)  # variants whose pods run under Shunt
UNREPLACED = (RUNC, KERNEL, RUNC_BARE, KERNEL_BARE)  # variants without fast connections

_PROFILES = """\
Connections that are never replaced, two comparisons: any seccomp filter costs each system call the same
few dozen nanoseconds, also one that allows the call whatever its arguments are, as Shunt's allows all
that moves data. Containers with containerd's profile (RuntimeDefault in Kubernetes) have a filter under
runc, too; of those without a profile only Shunt's have one."""

_NGINX = """\
daemon off; user root; pid /tmp/nginx.pid; error_log stderr; worker_processes 1;
events { worker_connections 512; }
http { access_log off; sendfile on; keepalive_requests 1000000000; default_type text/plain;
       client_body_temp_path /tmp/1; proxy_temp_path /tmp/2; fastcgi_temp_path /tmp/3;
       uwsgi_temp_path /tmp/4; scgi_temp_path /tmp/5;
       server { listen 8080; root /www; } }
"""


class Variant(bed.Variant):
    """With `limit` the client addresses a socket file that both pods see."""

    def __init__(self, name, pair, limit=False, trapped=False):
        super().__init__(name, pair, trapped)
        self.limit = limit

    def address(self, server):
        if self.limit:
            return f"/shared/{server}"
        return super().address(server) if self.trapped else f"{self.pair.address}:{PORTS[server]}"


class Bed(bed.Bed):
    """All pods on a node, with their servers running. Pods of a variant that has no turn sleep."""

    def __init__(self, node, folder, stack):
        super().__init__()
        self.node = node
        self.images = _images()
        runc = self._pair(RUNC, "runc", folder, stack)
        runc.serve("answer-trapped", "load", "trapped", "answer", f"0.0.0.0:{bed.TRAPPED_PORT}",
                   image=self.load)
        runc.wait_port(bed.TRAPPED_PORT)
        self.variants = {RUNC: Variant(RUNC, runc), LIMIT: Variant(LIMIT, runc, limit=True),
                         TRAPS: Variant(TRAPS, runc, trapped=True)}
        # With state directories of their own two pods do not know each other: both are supervised,
        # their calls are trapped, and every connection between them stays what it is.
        apart = {"state": os.path.join(node.dir, "apart")}
        tcp_pair = {"upgrade": {"pair": "tcp"}}
        for name, configs in ((SHUNT, (None, None)), (TCP_PAIR, (tcp_pair, tcp_pair)),
                              (EVERY, (bed.EVERY, bed.EVERY)), (KERNEL, (apart, None)),
                              (KERNEL_BARE, (apart, None))):
            self.variants[name] = Variant(name, self._pair(name, "shunt", folder, stack, configs))
        self.variants[RUNC_BARE] = Variant(
            RUNC_BARE, self._pair(RUNC_BARE, "runc", folder, stack))
        for name in (*UNREPLACED, SHUNT, TCP_PAIR):
            self.take_turns(self.variants[name].pair)

    def _pair(self, name, handler, folder, stack, configs=(None, None)):
        shared = os.path.join(folder, name.replace(" ", "").replace(",", "-"))
        os.mkdir(shared, 0o777)
        bare = name in (RUNC_BARE, KERNEL_BARE)
        pair = stack.enter_context(PodPair(self.node, handler, configs, shared,
                                           seccomp="Unconfined" if bare else "RuntimeDefault"))
        self.serve(pair)
        if bare or name in (KERNEL, EVERY):
            return pair
        for server in bed.PORTS:
            if name == RUNC:
                pair.serve(f"{server}-limit", "load", server, f"/shared/{server}", image=self.load)
        pair.serve("redis", "redis-server", "--save", "", "--protected-mode", "no",
                   "--unixsocket", "/shared/redis", image="redis")
        pair.serve("nginx", "nginx", "-c", "/etc/nginx.conf", image=self.images["nginx"])
        pair.serve("memcached", "memcached", "-u", "root", "-t", "1", "-l", "0.0.0.0",
                   image=self.images["memcached"])
        for server, port in PORTS.items():
            if server not in bed.PORTS:
                pair.wait_port(port)
        if name == RUNC:
            for server in ("serve", "answer", "redis"):
                wait_until(lambda server=server: os.path.exists(os.path.join(shared, server)),
                           f"socket of {server}")
        for image in (self.load, "redis", self.images["wrk"]):
            pair.client_container(image)
        return pair

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


def _images():
    return {
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
        Measure("echo 1024", "round trip, 1 KiB", "µs", list(trip)),
        Measure("stream 65536", "stream, 64 KiB writes", "GB/s", large),
        Measure("stream 64", "stream, 64 B writes", "GB/s", small),
        Measure("download 65536", "download, 64 KiB writes", "GB/s", list(large)),
        Measure("download 64", "download, 64 B writes", "GB/s", list(small)),
    ]


def _kernel_measures(variant, against, one_cpu):
    def bar(**limit):
        return [Bar(variant, against=against, **limit)] if one_cpu else []

    return [
        Measure("echo 64", "round trip, 64 B", "µs", bar(at_most=1.02)),
        Measure("echo 1024", "round trip, 1 KiB", "µs", bar(at_most=1.02)),
        Measure("stream 65536", "stream, 64 KiB writes", "GB/s", bar(at_least=0.98)),
        Measure("stream 64", "stream, 64 B writes", "GB/s", bar(at_least=0.98)),
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


def _measure(bench, pods, where, one_cpu):
    def turns(names, function):
        return {name: lambda name=name: function(pods.variants[name]) for name in names}

    seconds = bench.pick(1.0, 0.3)
    bench.compare(f"sockets, {where}",
                  turns((RUNC, SHUNT, TCP_PAIR, LIMIT),
                        lambda v: pods.data_in_turns(v, 0.03 if one_cpu else SETTLED, BOTH_WAYS)),
                  _socket_measures(one_cpu),
                  rounds=bench.pick(120, 40) if one_cpu else bench.pick(40, 15))
    bench.compare(f"CPU time of pods and shims, {where}",
                  turns((RUNC, SHUNT, TCP_PAIR, LIMIT), lambda v: pods.data_cpu(v, seconds)),
                  bed.data_cpu_measures([Bar(SHUNT, against=RUNC, at_most=0.20)]))
    bench.compare(f"connections as short as can be, {where}",
                  turns((RUNC, SHUNT, EVERY, TCP_PAIR, LIMIT), lambda v: pods.connects(v, seconds)),
                  bed.connect_measures([Bar(SHUNT, against=RUNC, at_most=1.7, goal=1.3)]
                                       if one_cpu else []))
    requests = {1: 20000, 3: 30000, 50: 50000} if one_cpu else {1: 20000, 50: 50000}
    requests = {clients: bench.pick(count, count // 2) for clients, count in requests.items()}
    bench.compare(f"Redis, {where}",
                  turns((RUNC, SHUNT, TCP_PAIR, LIMIT), lambda v: pods.redis(v, requests)),
                  _redis_measures(requests, one_cpu), rounds=bench.pick(15, 7))
    bench.compare(f"nginx and memcached, {where}",
                  turns((RUNC, SHUNT, TCP_PAIR), lambda v: pods.web(v, bench.pick(2, 1))),
                  _web_measures(one_cpu))
    for profile, against, variant in (("containerd's seccomp profile", RUNC, KERNEL),
                                      ("no seccomp profile", RUNC_BARE, KERNEL_BARE)):
        bench.compare(f"connections that are never replaced, {profile}, {where}",
                      turns((against, variant),
                            lambda v: pods.data_in_turns(v, 0.01 if one_cpu else SETTLED)),
                      _kernel_measures(variant, against, one_cpu),
                      rounds=bench.pick(400, 150) if one_cpu else bench.pick(60, 20))
    if one_cpu:
        bench.compare(f"making connections that are never replaced, {where}",
                      turns((RUNC, KERNEL, TRAPS), lambda v: pods.connects(v, seconds / 2)),
                      bed.connect_measures([Bar(KERNEL, against=RUNC, at_most=1.25)]),
                      rounds=bench.pick(40, 20))


def _measure_held(bench, pods):
    bench.compare(f"growth with {HELD} connections held",
                  {SHUNT: lambda: pods.held(pods.variants[SHUNT], HELD)}, _held_measures(),
                  rounds=bench.pick(5, 2), warm_up=0)


def _note_paths(bench, pods):
    """What became of the connections: a figure of a variant that was not fast would mislead."""
    shown = {pod["pod"]["id"]: pod for pod in inspected(pods.node)}
    for name in HANDLED:
        pod = shown[pods.variants[name].pair.client.id]
        paths_taken = {each["path"]: each["count"] for each in pod["paths"] if each["count"]}
        total = sum(paths_taken.values())
        fast = paths_taken.pop("upgraded", 0)
        others = ", ".join(f"{count} {path}" for path, count in paths_taken.items())
        bench.note(f"{name}: {fast} of {total} connections were fast"
                   + (f"; the others: {others}" if others else ""))


def run(bench):
    bench.note(_PROFILES)
    if not os.path.exists(paths.shim_binary()):
        raise Skip(f"{paths.shim_binary()} is not built; run "
                   "cmake --preset release && cmake --build --preset release")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="shunt-bench-"))
        node = stack.enter_context(Node())
        pods = Bed(node, folder, stack)
        stack.enter_context(pods.preferred())
        try:
            with pods.one_cpu():
                _measure(bench, pods, "one CPU", True)
            _measure(bench, pods, "all CPUs", False)
            _measure_held(bench, pods)
        finally:
            _note_paths(bench, pods)
