#!/usr/bin/python3
"""What is not between two Shunt pods is untouched: clients and servers outside, UDP, DNS, ICMP,
hostPort. scripts/bench same-node measures that it costs nothing."""

import json
import os
import signal

import harness
from pods import DIAL, Image, PodTest

PORT = 7100
GATEWAY = "198.18.0.1"  # the node, as pods see it
DNS = "198.18.255.53"  # what CRI writes into the pods' resolv.conf
HOST_PORT = 8088
_DIAL_HERE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "dial.py")

DNSMASQ = Image("dnsmasq", packages=(
    "dnsmasq-base", "libjansson4", "libnetfilter-conntrack3", "libnfnetlink0", "libnftables1",
    "libnftnl11"), programs=("dnsmasq",))


class KernelPath(PodTest):
    def dial_from_node(self, address, port, *options):
        """A client on the node, outside any pod: a probe of kubelet, for instance."""
        argv = ["/usr/bin/python3", "-B", _DIAL_HERE, "dial", address, str(port), *options]
        return [json.loads(line) for line in self.node.execute(argv).stdout.splitlines()]

    def assert_answers(self, said, count=1):
        self.assertEqual([None] * count, [each["error"] for each in said])
        self.assertEqual(["server"] * count, [each["answer"].split()[0] for each in said])

    def test_clients_outside(self):
        """From the node and from a runc pod: what the server sees is the client's own address."""
        pair, runc = self.pair(), self.pair("runc")
        self.serve(pair, PORT)
        for said, source in ((self.dial_from_node(pair.address, PORT, "--count", "20"), GATEWAY),
                             (self.dial(runc, pair.address, PORT, "--count", 20),
                              self.cri.pod_address(runc.client))):
            self.assert_answers(said, 20)
            self.assertEqual({f"server {source}"}, {each["answer"] for each in said})
        self.assertEqual({"accepted-from-outside": 40}, self.paths(pair.server))

    def test_servers_outside(self):
        """To the node and to a runc pod; to an address that is none of a pod."""
        pair, runc = self.pair(), self.pair("runc")
        self.serve(runc, PORT)
        argv = ["/usr/bin/python3", "-B", _DIAL_HERE, "serve", str(PORT + 1), "server"]
        server = self.node.spawn(argv, os.path.join(self.node.dir, "server.log"))
        self.addCleanup(os.kill, server, signal.SIGKILL)
        listening = f":{PORT + 1:04X} 00000000:0000 0A"
        harness.wait_until(
            lambda: listening in self.node.execute(["cat", "/proc/net/tcp"]).stdout, "server")
        self.assert_answers(self.dial(pair, runc.address, PORT, "--count", 20), 20)
        self.assert_answers(self.dial(pair, GATEWAY, PORT + 1, "--count", 20), 20)
        self.assertEqual({"no-local-pod": 40}, self.paths(pair.client))

    def test_udp(self):
        pair, runc = self.pair(), self.pair("runc")
        for each in (pair, runc):
            each.serve("udp", "python3", "/dial.py", "serve", str(PORT), "server", "--udp",
                       image=DIAL)
            self.serve(each, PORT + 1, "ready")  # nothing says that a UDP server is there
        for one, other in ((pair, pair), (pair, runc), (runc, pair)):
            said = self.dial(one, other.address, PORT, "--udp", "--count", 20)
            self.assert_answers(said, 20)
            self.assertEqual({f"server {self.cri.pod_address(one.client)} datagram"},
                             {each["answer"] for each in said})
        self.assertEqual({}, self.paths(pair.client))

    def test_ping(self):
        pair, runc = self.pair(), self.pair("runc")
        for address in (pair.address, runc.address, GATEWAY, "127.0.0.1"):
            text = pair.call("busybox", "ping", "-c", "3", "-i", "0.1", "-W", "2", address)
            self.assertIn("3 packets received, 0% packet loss", text)
        text = self.node.execute(["/bin/busybox", "ping", "-c", "3", "-i", "0.1", pair.address])
        self.assertIn("3 packets received, 0% packet loss", text.stdout)

    def test_dns(self):
        """A cluster's DNS: a service address, over UDP and over TCP, by glibc's resolver."""
        pair = self.pair()
        pair.serve("dns", "dnsmasq", "--keep-in-foreground", "--user=root", "--no-resolv",
                   "--no-hosts", "--address=/name.test/198.18.7.7", "--log-facility=-", "--pid-file",
                   image=DNSMASQ)
        pair.wait_port(53)
        for protocol in ("udp", "tcp"):
            rule = ["PREROUTING", "-p", protocol, "-d", DNS, "--dport", "53", "-j", "DNAT", "--to",
                    f"{pair.address}:53"]
            self.node.execute(["iptables", "-w", "-t", "nat", "-A", *rule])
            self.addCleanup(self.node.execute, ["iptables", "-w", "-t", "nat", "-D", *rule])
        ask = ["python3", "-c", "import socket, sys\n"
               "for i in range(20): print(socket.gethostbyname('name.test'))"]
        self.assertEqual(20 * ["198.18.7.7"], pair.call(DIAL, *ask).split())
        self.assertEqual({}, self.paths(pair.client), "nothing but UDP")
        over_tcp = ["env", "RES_OPTIONS=use-vc", *ask]
        self.assertEqual(20 * ["198.18.7.7"], pair.call(DIAL, *over_tcp).split())
        # TCP it is, and upgraded as any other: non-blocking, through a translated address.
        # dnsmasq ends a connection when a child's end interrupts its getsockname; see sandbox/README.md.
        paths = self.paths(pair.client)
        self.assertIn(sum(paths.values()), range(20, 24), paths)
        self.assert_upgraded(sum(paths.values()), paths)
        self.assertEqual("198.18.7.7", self.look_up_from_node(pair.address))

    def look_up_from_node(self, server):
        text = self.node.execute(["/bin/busybox", "nslookup", "-type=a", "name.test", server]).stdout
        return text.split()[-1]

    def test_host_port(self):
        """portmap's rules: from the node, from a runc pod, from a Shunt pod."""
        pod = self.pod("published", ports=[(HOST_PORT, PORT)])
        pair, runc = self.pair(), self.pair("runc")
        self.cri.run_container(pod, "server", "python3", "/dial.py", "serve", str(PORT), "server",
                               image=DIAL)
        pair.wait_port(PORT, pod=pod)
        self.assert_answers(self.dial_from_node(GATEWAY, HOST_PORT, "--count", "10"), 10)
        self.assert_answers(self.dial_from_node("127.0.0.1", HOST_PORT), 1)
        for each in (pair, runc):
            self.assert_answers(self.dial(each, GATEWAY, HOST_PORT, "--count", 10), 10)
        # portmap masquerades what comes from the pods' subnet, so the server does not see the client.
        self.assertEqual({"accepted-from-outside": 31}, self.paths(pod))
        self.assertEqual({"translated": 10}, self.paths(pair.client))


if __name__ == "__main__":
    harness.main()
