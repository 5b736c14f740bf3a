"""The main part of the demonstration: two pods on a CNI bridge, under runc and under Shunt."""

import contextlib
import json
import threading

from benchlib.spinners import Spinners

from .node import wait_until
from .pair import PodPair, inspect, inspected

_REDIS = ("redis-server", "--save", "", "--protected-mode", "no")

# key -> title, unit
ROWS = {
    "get 1": ("redis-benchmark GET, 1 client", "requests/s"),
    "set 1": ("redis-benchmark SET, 1 client", "requests/s"),
    "get 50": ("redis-benchmark GET, 50 clients", "requests/s"),
    "set 50": ("redis-benchmark SET, 50 clients", "requests/s"),
    "iperf3": ("iperf3, one stream", "Gbit/s"),
}


@contextlib.contextmanager
def served(node, handler):
    """The two pods with their servers ready."""
    with PodPair(node, handler) as pair:
        pair.serve("redis", *_REDIS, image="redis")
        pair.serve("iperf3", "iperf3", "-s", image="iperf3")
        pair.client_container("redis")
        pair.client_container("iperf3")
        pair.wait_port(6379)
        pair.wait_port(5201)
        yield pair


def redis(pair, clients, requests):
    """{"GET": requests per second, "SET": ...}"""
    csv = pair.call("redis", "redis-benchmark", "-h", pair.address, "-t", "get,set", "-n",
                    str(requests), "-c", str(clients), "--csv")
    rows = [line.replace('"', "").split(",") for line in csv.splitlines()[1:]]
    return {row[0]: float(row[1]) for row in rows}


def iperf3(pair, seconds):
    """Gbit/s as the receiver counts them."""
    result = json.loads(pair.call("iperf3", "iperf3", "-c", pair.address, "-t", str(seconds), "-J"))
    return result["end"]["sum_received"]["bits_per_second"] / 1e9


def measure(pair):
    figures = {}
    for clients, requests in ((1, 20000), (50, 50000)):
        for name, rate in redis(pair, clients, requests).items():
            figures[f"{name.lower()} {clients}"] = rate
    figures["iperf3"] = iperf3(pair, 2)
    return figures


def during_traffic(node, pair):
    """What `shunt inspect` shows of the client's pod while iperf3 runs with two streams."""
    running = threading.Thread(
        target=lambda: pair.call("iperf3", "iperf3", "-c", pair.address, "-t", "2", "-P", "2"))
    running.start()
    try:
        wait_until(lambda: any(len(pod.get("connections", ())) >= 3 for pod in inspected(node)),
                   "connections of iperf3", 5, interval=0.1)
        return inspect(node, pair.client.id)
    except TimeoutError:
        return inspect(node, pair.client.id)
    finally:
        running.join()


def demonstrate(node, title, command):
    """`title` and `command` print, see demo.py."""
    title("Two pods on a CNI bridge: redis-server and iperf3 in one, their clients in the other")
    figures, seen = {}, ""
    for handler in ("runc", "shunt"):
        with served(node, handler) as pair:
            with Spinners():  # virtual CPUs that halt would be most of what is measured
                figures[handler] = measure(pair)
            print(f"    measured with handler {handler}, server {pair.address}", flush=True)
            if handler == "shunt":
                seen = during_traffic(node, pair)
    print(f"\n    {'':34}{'runc':>12}{'Shunt':>12}  {'unit':12}{'Shunt / runc':>12}")
    for key, (name, unit) in ROWS.items():
        before, after = figures["runc"][key], figures["shunt"][key]
        digits = 1 if before < 1000 else 0
        print(f"    {name:34}{before:>12.{digits}f}{after:>12.{digits}f}  {unit:12}"
              f"{after / before:>10.2f} x")
    print("    One pass, for a first impression: scripts/bench same-node measures properly.")
    title("What happened, as the client's pod saw it")
    command("shunt inspect CLIENT, while iperf3 -P 2 runs", seen)
