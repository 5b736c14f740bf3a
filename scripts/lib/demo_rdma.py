"""`scripts/demo --rdma`: two guests with Soft-RoCE, a containerd and a pod on each."""

import contextlib
import os
import time

from . import apps, fabrics, network
from .guest import Guests
from .guest.remote import RemoteNode
from .images import IMAGES
from .pair import PodPair, inspect

_BASE = "runc + VXLAN"
_MTU = 9000 - network.VXLAN_OVERHEAD
_REQUESTS = 300  # of redis, with one client: emulation is slow
WAIT = "500ms"  # of a connect: the bounds are made for machines, not for emulated ones


@contextlib.contextmanager
def two_guest_nodes(build):
    """Two nodes, each in a guest, with an overlay between their pods. Their networks are the guests'
    own."""
    # There is no archive to ask inside.
    archives = {name: IMAGES[name].archive() for name in ("busybox", "pause", "redis", "iperf3")}
    with contextlib.ExitStack() as stack:
        guests = stack.enter_context(Guests(2, memory_mib=3072))
        nodes = [stack.enter_context(RemoteNode(guest, subnet=f"198.18.{number}.0/24", mtu=_MTU,
                                                archives=archives, env={"SHUNT_BUILD": build}))
                 for number, guest in enumerate(guests, 1)]
        for node in nodes:
            network.extend(node, node.host_address)
        for node, peer in (nodes, reversed(nodes)):
            network.reach(node, peer.subnet, peer.host_address, network.vxlan_mac(peer))
        yield nodes


def _counters(node):
    """What the second guest's devices have sent: packets of RDMA, bytes through the overlay."""
    def read(path):
        return int(node.execute(["cat", path]).stdout)

    return (read("/sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts"),
            read(f"/sys/class/net/{network.VXLAN}/statistics/tx_bytes"))


def _variants(one, two):
    found = [(_BASE, "runc", None)]
    offered = fabrics.offered(one, two, None, ("verbs",), WAIT)
    for name, config in offered.items():
        found.append((fabrics.NAMES[name], "shunt", config))
    if not offered:
        found.append(("Shunt, kernel", "shunt", None))
    return found


def demonstrate(title, command, build):
    title("Two machines with an RDMA device each, emulated; a containerd on each")
    began = time.monotonic()
    with two_guest_nodes(build) as (one, two):
        print(f"    ready after {time.monotonic() - began:.0f} s", flush=True)
        command("rdma link    # in the first", one.execute(["rdma", "link"]).stdout)
        title("redis-server and iperf3 in a pod of one, their clients in a pod of the other")
        figures, sent, taken, seen = {}, {}, {}, ""
        for name, handler, config in _variants(one, two):
            with PodPair(one, handler, (config, config), client_node=two) as pair:
                apps.serve(pair, "redis", "iperf3")
                before = _counters(two)
                figures[name] = apps.measure(pair, "redis", "iperf3", requests=_REQUESTS)
                sent[name] = [after - then for then, after in zip(before, _counters(two))]
                print(f"    measured: {name}, server {pair.address} on {one.host_address}, client "
                      f"on {two.host_address}", flush=True)
                if handler == "shunt":
                    taken[name] = fabrics.paths_taken(pair)
                    seen = inspect(two, pair.client.id)
        apps.table(figures)
        print("    The machines are emulated: these times say nothing of real ones.")
        title("Which way the client's bytes went")
        print(f"    {'':34}{'RDMA packets sent':>20}{'bytes into VXLAN':>20}")
        for name, (packets, octets) in sent.items():
            print(f"    {name:34}{packets:>20}{octets:>20}")
        command("rdma statistic show link rxe0/1    # in the client's machine",
                two.execute(["rdma", "statistic", "show", "link", "rxe0/1"]).stdout)
        for name, counts in taken.items():
            text = ", ".join(f"{count} {path}" for path, count in counts.items())
            print(f"    {name}: connections: {text}")
        if "Shunt, kernel" in figures:
            print("    This build does not use RDMA: Shunt leaves connections to the kernel.")
        title("What happened, as the client's pod saw it")
        command("shunt inspect CLIENT", seen)
        count_work(title, one, build)


def count_work(title, node, build):
    """What the same bytes cost the device in our scheme and in another: counts, which emulation does not
    change. Both ends are in one machine."""
    title("Work for the device, per MiB of a stream or per message of 64 bytes")
    print("    'one write': TCP sockets over RDMA with one signalled write in flight per stream")
    result = node.guest.run(os.path.join(build, "netstack/verbs_scheme_bench"), "--quick", timeout=300)
    print(*(f"    {line}" for line in result.stdout.splitlines()), sep="\n", flush=True)
