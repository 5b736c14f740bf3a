"""Nodes on one network, as a cluster has them: a veth pair, and routes to each other's pods."""

from . import paths


def join(one, other, network="198.19.0"):
    """Connects two nodes with networks of their own: they get NETWORK.1 and NETWORK.2 on `eth0`,
    and each a route to the other's pod subnet. Returns the two addresses. Ends with the nodes."""
    ip = paths.tool("ip")
    one.execute([ip, "link", "add", "eth0", "type", "veth",
                 "peer", "name", "eth0", "netns", str(other.pid)])
    addresses = f"{network}.1", f"{network}.2"
    for node, own, peer, behind in ((one, addresses[0], addresses[1], other.subnet),
                                    (other, addresses[1], addresses[0], one.subnet)):
        node.execute([ip, "address", "add", f"{own}/24", "dev", "eth0"])
        node.execute([ip, "link", "set", "eth0", "up"])
        node.execute([ip, "route", "add", behind, "via", peer])
        node.execute([paths.tool("sysctl"), "-qw", "net.ipv4.ip_forward=1"])
    return addresses
