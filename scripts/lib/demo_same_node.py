"""The main part of the demonstration: two pods on a CNI bridge, under runc and under Shunt."""

import threading

from benchlib.spinners import Spinners

from . import apps
from .node import wait_until
from .pair import PodPair, inspect, inspected

_IMAGES = ("redis", "iperf3")


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
        with PodPair(node, handler) as pair:
            apps.serve(pair, *_IMAGES)
            with Spinners():  # virtual CPUs that halt would be most of what is measured
                figures["Shunt" if handler == "shunt" else handler] = apps.measure(pair, *_IMAGES)
            print(f"    measured with handler {handler}, server {pair.address}", flush=True)
            if handler == "shunt":
                seen = during_traffic(node, pair)
    apps.table(figures)
    print("    One pass, for a first impression: scripts/bench same-node measures properly.")
    title("What happened, as the client's pod saw it")
    command("shunt inspect CLIENT, while iperf3 -P 2 runs", seen)
