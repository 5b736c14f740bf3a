"""The shim by itself against containerd's own for runc, both under the same private containerd: what
a pod's shim costs in memory and threads, and how long containers and execs take."""

import contextlib
import itertools
import os
import subprocess
import time

from lib import RUNC, SHUNT, Node, Skip, paths, proc
from lib.node import wait_until

from ..cpu import NodeCpu, pin
from ..measure import Bar, Measure

SUMMARY = "the shim against containerd's runc shim: memory, threads, run and exec times"

RUNTIMES = {"runc": RUNC, "shunt": SHUNT}
HELD = 20  # further execs or containers that a pod holds
POD = "io.kubernetes.cri.sandbox-id"  # both shims serve containers with the same value together
KIB = 1024

_serial = itertools.count()


def _id(word):
    return f"{word}{next(_serial)}"


def _start_in_pod(node, runtime, pod, id):
    """Starts a container that sleeps in the pod, with fifos for its output as CRI gives it."""
    flags = ["-d", "--annotation", f"{POD}={pod}"]
    argv = node.run_argv(id, "sleep", "1000", runtime=runtime, flags=flags)
    _check(subprocess.run(argv, env=node.env(), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False))
    return id


def _check(result):
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(result.args)}: {result.stderr or result.stdout}")


@contextlib.contextmanager
def _pod(node, runtime):
    """A pod with one container: gives its name, the container, and the shim's pid."""
    pod = _id("pod")
    containers = [_start_in_pod(node, runtime, pod, _id("c"))]
    try:
        yield pod, containers, node.shim_of(containers[0])
    finally:
        for id in containers:
            node.remove(id, check=False)


@contextlib.contextmanager
def _clients(node, container, count):
    """Clients that each wait for an exec of their own."""
    ids = [_id("held") for _ in range(count)]
    argv = [node.ctr_argv("task", "exec", "--exec-id", id, container, "sleep", "1000")
            for id in ids]
    before = len(_processes(node, container))
    clients = [subprocess.Popen(each, env=node.env(), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for each in argv]
    try:
        wait_until(lambda: len(_processes(node, container)) >= before + count,
                   f"start of {count} execs", 60)
        yield
    finally:
        for client in clients:
            client.kill()
        for client in clients:
            client.wait()


def _processes(node, container):
    return node.ctr("task", "ps", container).stdout.splitlines()[1:]


# Memory and threads


def _costs(node, runtime):
    """One round: a pod that comes to hold execs, another that comes to hold containers."""
    with _pod(node, runtime) as (_, containers, shim):
        alone = proc.memory(shim)
        threads = proc.threads(shim)
        for _ in range(HELD):
            node.exec(containers[0], "sleep", "1000", flags=["-d"])
        execs = proc.memory(shim)
    with _pod(node, runtime) as (pod, containers, shim):
        first = proc.memory(shim)
        containers.append(_start_in_pod(node, runtime, pod, _id("c")))
        two_threads = proc.threads(shim)  # as in Kubernetes: a sandbox and a container
        for _ in range(HELD - 1):
            containers.append(_start_in_pod(node, runtime, pod, _id("c")))
        if node.shim_of(containers[-1]) != shim:
            raise RuntimeError(f"{runtime}: the containers of a pod are not in one shim")
        many = proc.memory(shim)
        with _clients(node, containers[0], HELD):
            most_threads = proc.threads(shim)
    return {
        "rss": alone["rss"] / KIB,
        "private": alone["private"] / KIB,
        "pss": alone["pss"] / KIB,
        "exec rss": (execs["rss"] - alone["rss"]) / HELD,
        "exec private": (execs["private"] - alone["private"]) / HELD,
        "container rss": (many["rss"] - first["rss"]) / HELD,
        "container private": (many["private"] - first["private"]) / HELD,
        "threads": threads,
        "more threads": most_threads - two_threads,
    }


def _memory(bench, node):
    growth = [Bar("shunt", at_most=64)]
    measures = [
        Measure("rss", "RSS, one container", "MiB", [Bar("shunt", at_most=7)]),
        Measure("private", "private memory, one container", "MiB", [Bar("shunt", at_most=2)]),
        Measure("pss", "proportional share (PSS)", "MiB"),
        Measure("exec rss", "RSS per further exec", "KiB", growth),
        Measure("exec private", "private memory per further exec", "KiB", growth),
        Measure("container rss", "RSS per further container", "KiB", growth),
        Measure("container private", "private memory per further container", "KiB", growth),
        Measure("threads", "threads, one container", "", [Bar("shunt", at_most=8)]),
        Measure("more threads", f"threads more with {HELD + 1} than with 2 containers", "",
                [Bar("shunt", at_most=0)]),
    ]
    # Another pod of each kind beside the one that is looked at, as on any real node: the pages of
    # the program's file are then shared, and "private" is what one more pod costs.
    with contextlib.ExitStack() as neighbours:
        for runtime in RUNTIMES.values():
            neighbours.enter_context(_pod(node, runtime))
        bench.compare(
            f"a pod's shim, another pod beside it; growth over {HELD}",
            {name: lambda runtime=runtime: _costs(node, runtime)
             for name, runtime in RUNTIMES.items()},
            measures, rounds=bench.pick(5, 3), warm_up=0)


# Times


def _timed(argv, node):
    started = time.perf_counter()
    result = subprocess.run(argv, env=node.env(), stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=60, check=False)
    elapsed = time.perf_counter() - started
    _check(result)
    return 1000 * elapsed


def _run(node, cpu, runtime, times):
    """`ctr run --rm` of /bin/true from busybox, which is static, until ctr has ended."""
    walls, seconds = cpu.charge(
        lambda: _timed(node.run_argv(_id("r"), "true", runtime=runtime, flags=["--rm"]), node),
        times)
    return {"wall": walls, "cpu": 1000 * seconds}


def _exec(node, cpu, container, times):
    walls, seconds = cpu.charge(
        lambda: _timed(node.ctr_argv("task", "exec", "--exec-id", _id("x"), container, "true"),
                       node),
        times)
    return {"wall": walls, "cpu": 1000 * seconds}


def _call_exec(node, container):
    """An exec without output by containerd's API, from Exec to Delete: no ctr to start."""
    tasks, id = node.task_service, _id("x")
    started = time.perf_counter()
    tasks.exec(container, id, ["true"])
    waiting = tasks.wait_later(container, id)
    tasks.call("Start", container_id=container, exec_id=id)
    status = waiting.result().exit_status
    tasks.call("DeleteProcess", container_id=container, exec_id=id)
    elapsed = time.perf_counter() - started
    if status != 0:
        raise RuntimeError(f"exec of true ended with {status}")
    return 1000 * elapsed


def _call_state(node, container):
    """One question that containerd hands on to the shim."""
    started = time.perf_counter()
    node.task_service.call("Get", container_id=container)
    return 1000 * (time.perf_counter() - started)


def _calls(node, cpu, container, times):
    walls, seconds = cpu.charge(lambda: _call_exec(node, container), times)
    states, state_seconds = cpu.charge(lambda: _call_state(node, container), 20 * times)
    return {"wall": walls, "cpu": 1000 * seconds, "state": states,
            "state cpu": 1e6 * state_seconds}


def _time_measures(what):
    return [
        Measure("wall", f"{what}, wall time", "ms",
                [Bar("shunt", against="runc", at_most=1.0, goal=0.9)]),
        Measure("cpu", f"{what}, CPU of shim, OCI runtime and container", "ms"),
    ]


def _times(bench, node, where):
    cpu = NodeCpu(node)
    times = bench.pick(6, 5)
    bench.compare(
        f"ctr run --rm, {where}",
        {name: lambda runtime=runtime: _run(node, cpu, runtime, times)
         for name, runtime in RUNTIMES.items()},
        _time_measures("run"), rounds=bench.pick(15, 3))
    # Joining cgroups and mount namespaces waits for grace periods of the kernel, which makes single
    # execs last from 20 to 50 ms: a handful of rounds would compare luck.
    with contextlib.ExitStack() as pods:
        containers = {name: pods.enter_context(_pod(node, runtime))[1][0]
                      for name, runtime in RUNTIMES.items()}
        bench.compare(
            f"ctr task exec, {where}",
            {name: lambda container=container: _exec(node, cpu, container, times)
             for name, container in containers.items()},
            _time_measures("exec"), rounds=bench.pick(30, 12))
        bench.compare(
            f"containerd's task service called directly, {where}",
            {name: lambda container=container: _calls(node, cpu, container, times)
             for name, container in containers.items()},
            [*_time_measures("exec"),
             Measure("state", "state of a container, wall time", "ms"),
             Measure("state cpu", "state of a container, CPU of the shim", "µs")],
            rounds=bench.pick(30, 12))


@contextlib.contextmanager
def _one_cpu(node):
    """containerd, and so the shims it starts, and this process, and so its clients, on one CPU."""
    everywhere = os.sched_getaffinity(0)
    pids = [os.getpid(), node.containerd_pid]
    pin(pids, {min(everywhere)})
    try:
        yield
    finally:
        pin(pids, everywhere)


def run(bench):
    if not os.path.exists(paths.shim_binary()):
        raise Skip(f"{paths.shim_binary()} is not built; run "
                   "cmake --preset release && cmake --build --preset release")
    with Node() as node:
        node.image("busybox")
        _memory(bench, node)
        _times(bench, node, "all CPUs")
        with _one_cpu(node):
            _times(bench, node, "one CPU")
