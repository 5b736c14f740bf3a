"""Two pods on different nodes that talk over TCP: runc over VXLAN and in the nodes' own network, and
Shunt with each fabric that the build has. Nodes are network namespaces."""

import contextlib
import os
import tempfile

from lib import Skip, fabrics, network, paths
from lib.pair import PodPair

from .. import bed
from ..measure import Bar, Measure

SUMMARY = "two pods of two nodes: round trips, streams, connects, idle streams"

VXLAN, HOST_NETWORK, KERNEL = "runc + VXLAN", "runc hostNetwork", "shunt, kernel path"
HOST, WINDOW = fabrics.NAMES["host"], fabrics.NAMES["window"]
EVERY = f"{HOST}, every one upgraded"
IDLE = 4000  # streams at once


class Bed(bed.Bed):
    def __init__(self, one, two, folder, stack):
        super().__init__()
        self._nodes = one, two
        self._folder = folder
        self._stack = stack
        offered = fabrics.offered(one, two, fabrics.shared_directory(folder), ("host", "window"))
        self._add(VXLAN, "runc")
        self._add(HOST_NETWORK, "runc", host_network=True)
        for name, config in offered.items():
            self._add(fabrics.NAMES[name], "shunt", (config, config))
        if "host" in offered:
            every = {**offered["host"], **bed.EVERY}
            self._add(EVERY, "shunt", (every, every))
        # With no fabric allowed the two pods are supervised and their connections are left alone.
        none = {"fabrics": {"enabled": []}}
        self._add(KERNEL, "shunt", (none, none))

    def _add(self, name, handler, configs=(None, None), host_network=False):
        shared = os.path.join(self._folder, str(len(self.variants)))
        os.mkdir(shared, 0o777)
        one, two = self._nodes
        pair = self._stack.enter_context(PodPair(one, handler, configs, shared, two, host_network))
        self.serve(pair)
        self.take_turns(pair)
        self.variants[name] = bed.Variant(name, pair)


def _socket_measures(judged):
    def bars(*promises):
        return [Bar(variant, against=against, **limit) for variant, against, limit in promises
                if judged]

    return [
        Measure("echo 64", "round trip, 64 B", "µs",
                bars((HOST, HOST_NETWORK, {"at_most": 1.05}), (HOST, VXLAN, {"at_most": 0.65}))),
        Measure("echo 1024", "round trip, 1 KiB", "µs"),
        Measure("stream 65536", "stream, 64 KiB writes", "GB/s",
                bars((HOST, HOST_NETWORK, {"at_least": 0.95}), (WINDOW, VXLAN, {"at_least": 1.5}))),
        Measure("stream 64", "stream, 64 B writes", "GB/s"),
    ]


def _idle_measures(names):
    def bars(**limit):
        return [Bar(name, **limit) for name in names]

    return [
        Measure("idle", "CPU of both shims", "% of a CPU", bars(at_most=1)),
        Measure("rss each", "memory of a stream, the shim that grew more", "KiB", bars(at_most=8)),
        Measure("descriptors", "descriptors, the shim that got more", ""),
        Measure("inspect", "shunt inspect -o json of the client's pod", "s"),
        Measure("shown", "fast connections that it shows", "", bars(at_least=IDLE)),
        Measure("connect", "connecting, each", "µs"),
    ]


def _measure(bench, pods, where, judged):
    seconds = bench.pick(1.0, 0.3)
    variants = {name: variant for name, variant in pods.variants.items() if name != EVERY}
    bench.compare(f"sockets, {where}",
                  {name: lambda variant=variant: pods.data_in_turns(variant, 0.03)
                   for name, variant in variants.items()},
                  _socket_measures(judged), rounds=bench.pick(120, 40))
    bench.compare(f"CPU time of pods and shims, {where}",
                  {name: lambda variant=variant: pods.data_cpu(variant, seconds)
                   for name, variant in variants.items()},
                  bed.data_cpu_measures([Bar(HOST, against=HOST_NETWORK, at_most=1.05),
                                         Bar(WINDOW, against=VXLAN, at_most=0.6)]
                                        if judged else []))
    bench.compare(f"connections as short as can be, {where}",
                  {name: lambda variant=variant: pods.connects(variant, seconds)
                   for name, variant in pods.variants.items()},
                  bed.connect_measures([Bar(HOST, against=VXLAN, at_most=1.5)] if judged else []))


def _measure_idle(bench, pods):
    names = [name for name in (HOST, WINDOW) if name in pods.variants]
    if names:
        bench.compare(f"{IDLE} idle streams",
                      {name: lambda name=name: pods.held(pods.variants[name], IDLE,
                                                         bench.pick(5, 2)) for name in names},
                      _idle_measures(names), rounds=bench.pick(3, 1), warm_up=0)


def _note_paths(bench, pods):
    """What became of the connections: a figure of a variant that was not fast would mislead."""
    for name, variant in pods.variants.items():
        if variant.pair.handler != "shunt":
            continue
        counts = fabrics.paths_taken(variant.pair)
        bench.note(f"{name}: {fabrics.fast(variant.pair)} of {sum(counts.values())} connections were "
                   "fast; by path: " + ", ".join(f"{n} {path}" for path, n in counts.items()))
    for name in (HOST, WINDOW):
        if name not in pods.variants:
            bench.note(f"{name}: this build has no such fabric, so it is not measured")


def run(bench):
    if not os.path.exists(paths.shim_binary()):
        raise Skip(f"{paths.shim_binary()} is not built; run "
                   "cmake --preset release && cmake --build --preset release")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="shunt-bench-"))
        one, two = stack.enter_context(network.two_nodes())
        pods = Bed(one, two, folder, stack)
        stack.enter_context(pods.preferred())
        try:
            with pods.one_cpu():
                _measure(bench, pods, "all on one CPU", True)
            if len(os.sched_getaffinity(0)) > 1:
                with pods.a_cpu_each():
                    _measure(bench, pods, "each node on a CPU of its own", False)
            _measure_idle(bench, pods)
        finally:
            _note_paths(bench, pods)
