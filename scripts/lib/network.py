"""Nodes on one network, as a cluster has them: a veth pair for the nodes, and a way for their pods."""

import contextlib
import json

from . import paths
from .node import Node

VXLAN = "vxlan0"
VXLAN_OVERHEAD = 50  # bytes of a packet: Ethernet, IPv4, UDP and VXLAN headers
_PORT = 8472  # Linux's own, as flannel uses it


def join(one, other, network="198.19.0"):
    """Connects two nodes with networks of their own: they get NETWORK.1 and NETWORK.2 on `eth0`,
    and each a route to the other's pod subnet. Returns the two addresses. Ends with the nodes."""
    addresses = _connect(one, other, network)
    for node, peer, behind in ((one, addresses[1], other.subnet), (other, addresses[0], one.subnet)):
        node.execute([paths.tool("ip"), "route", "add", behind, "via", peer])
    return addresses


def overlay(one, other, network="198.19.0"):
    """The same, but the pods reach each other through VXLAN, as flannel sets it up: between the
    nodes only the nodes' own addresses exist. The nodes are to be made with an `mtu` that leaves
    VXLAN_OVERHEAD."""
    addresses = _connect(one, other, network)
    extend(one, addresses[0])
    extend(other, addresses[1])
    for node, peer, address in ((one, other, addresses[1]), (other, one, addresses[0])):
        reach(node, peer.subnet, address, vxlan_mac(peer))
    return addresses


def extend(node, address):
    """Gives a node its end of the overlay: a VXLAN device with the first address of its pods'
    subnet, for packets from and to the node's own `address`."""
    ip = paths.tool("ip")
    node.execute([ip, "link", "add", VXLAN, "type", "vxlan", "id", "1", "local", address,
                  "dstport", str(_PORT), "nolearning"])
    node.execute([ip, "address", "add", f"{_first(node.subnet)}/32", "dev", VXLAN])
    node.execute([ip, "link", "set", VXLAN, "mtu", str(node.mtu or 1450), "up"])


def vxlan_mac(node):
    shown = node.execute([paths.tool("ip"), "-j", "link", "show", VXLAN]).stdout
    return json.loads(shown)[0]["address"]


def reach(node, subnet, address, mac):
    """Tells a node that the pods of `subnet` are behind the node with this address, whose VXLAN
    device has this MAC: nothing is learnt or asked on the wire."""
    ip, gateway = paths.tool("ip"), _first(subnet)
    node.execute([ip, "neighbour", "add", gateway, "lladdr", mac, "dev", VXLAN, "nud", "permanent"])
    node.execute([paths.tool("bridge"), "fdb", "add", mac, "dev", VXLAN, "dst", address])
    node.execute([ip, "route", "add", subnet, "via", gateway, "dev", VXLAN, "onlink"])


@contextlib.contextmanager
def two_nodes(**arguments):
    """Two nodes with an overlay between their pods; `arguments` are those of Node. The nodes'
    `host_address` is set."""
    with (Node(subnet="198.18.1.0/24", mtu=1500 - VXLAN_OVERHEAD, **arguments) as one,
          Node(subnet="198.18.2.0/24", mtu=1500 - VXLAN_OVERHEAD, **arguments) as two):
        one.host_address, two.host_address = overlay(one, two)
        yield one, two


def _first(subnet):
    return subnet.partition("/")[0]


def _connect(one, other, network):
    ip = paths.tool("ip")
    one.execute([ip, "link", "add", "eth0", "type", "veth",
                 "peer", "name", "eth0", "netns", str(other.pid)])
    addresses = f"{network}.1", f"{network}.2"
    for node, own in zip((one, other), addresses):
        node.execute([ip, "address", "add", f"{own}/24", "dev", "eth0"])
        node.execute([ip, "link", "set", "eth0", "up"])
        node.execute([paths.tool("sysctl"), "-qw", "net.ipv4.ip_forward=1"])
    return addresses
