"""`scripts/demo --two-nodes`: a pod on each of two nodes, under runc and VXLAN and under Shunt."""

import tempfile
import threading

from benchlib.spinners import Spinners

from . import apps, fabrics, network
from .node import wait_until
from .pair import PodPair, inspect, inspected

_IMAGES = ("redis", "iperf3", "sockperf")
# sockperf names the peer in sendto(2), which the AF_UNIX end of a stream refuses: sandbox/README.md.
_NOT_OVER = {fabrics.NAMES["window"]: ("sockperf",)}
_BASE = "runc + VXLAN"


def _variants(one, two, folder):
    """[(name, handler, configuration)] of what this build really has."""
    found = [(_BASE, "runc", None)]
    offered = fabrics.offered(one, two, fabrics.shared_directory(folder), ("host", "window"))
    for name, config in offered.items():
        found.append((fabrics.NAMES[name], "shunt", config))
    if not offered:
        found.append(("Shunt, kernel", "shunt", None))
    return found


def _during_traffic(pair):
    """What `shunt inspect` shows of the client's pod while iperf3 runs."""
    running = threading.Thread(target=lambda: pair.call("iperf3", "iperf3", "-c", pair.address, "-t",
                                                        "2", "-P", "2"))
    running.start()
    try:
        wait_until(lambda: any(len(pod.get("connections", ())) >= 3
                               for pod in inspected(pair.client_node)), "connections", 1.5, 0.1)
    except TimeoutError:
        pass  # over the kernel's own path: there are none to show
    try:
        return inspect(pair.client_node, pair.client.id)
    finally:
        running.join()


def demonstrate(title, command):
    title("Two nodes, joined by a wire, with VXLAN between their pods")
    with (tempfile.TemporaryDirectory(prefix="shunt-demo-") as folder,
          network.two_nodes() as (one, two)):
        for name, node in (("one", one), ("two", two)):
            print(f"    node {name}: {node.host_address}, pods {node.subnet}")
        title("redis-server, iperf3 and sockperf in a pod of one, their clients in a pod of the other")
        figures, taken, seen = {}, {}, ""
        for name, handler, config in _variants(one, two, folder):
            with PodPair(one, handler, (config, config), client_node=two) as pair:
                apps.serve(pair, *_IMAGES)
                with Spinners():  # virtual CPUs that halt would be most of what is measured
                    left_out = _NOT_OVER.get(name, ())
                    figures[name] = apps.measure(
                        pair, *(image for image in _IMAGES if image not in left_out))
                print(f"    measured: {name}, server {pair.address} on {one.host_address}, client "
                      f"on {two.host_address}", flush=True)
                if handler == "shunt":
                    taken[name] = fabrics.paths_taken(pair)
                    seen = _during_traffic(pair)
        apps.table(figures)
        for name, left_out in _NOT_OVER.items():
            if name in figures:
                print(f"    {name}: not {' '.join(left_out)}, which names its peer with each message: "
                      "EISCONN there.")
        for name, counts in taken.items():
            text = ", ".join(f"{count} {path}" for path, count in counts.items())
            print(f"    {name}: connections: {text}")
        if "Shunt, kernel" in figures:
            print("    This build has no fabric between nodes: Shunt leaves connections to the kernel.")
        print("    One pass, for a first impression: scripts/bench cross-node measures properly.")
        title("What happened, as the client's pod saw it")
        command("shunt inspect CLIENT, while iperf3 -P 2 runs", seen)
        left = [thing for node in (one, two) for things in node.traces().values() for thing in things]
        title("Afterwards")
        print(f"    left of containers and pods: {', '.join(left) or 'nothing'}")
