#!/usr/bin/python3
"""Rules of the node rule over the fast path too: what packet filters deny is denied with the same
error at the same time, and services made of DNAT balance as they do under runc."""

import collections
import concurrent.futures

import harness
from pods import ACCEPTED_LATE, PodTest

PORT = 7100
VIP = "198.18.200.1"
NOWHERE = "198.18.222.1"  # the node has no route to it
HANDLERS = ("runc", "shunt")
TCP_PAIRS = ({"upgrade": {"pair": "tcp"}},) * 2
EVERY = ({"upgrade": {"short_lived": "upgrade"}},) * 2  # also where one follows the other
# A SYN that is dropped is sent again once; connect gives up after 1 + 2 seconds.
RETRIES = "net.ipv4.tcp_syn_retries=1"


class Rules(PodTest):
    def rule(self, *arguments, table="filter"):
        """An iptables rule of the node, as long as the test runs. arguments: -A CHAIN ..."""
        self.node.execute(["iptables", "-w", "-t", table, *arguments])
        undo = ["-D" if word in ("-A", "-I") else word for word in arguments]
        self.addCleanup(self.node.execute, ["iptables", "-w", "-t", table, *undo])

    def both(self, function):
        """function(pair) at once for a pair under each handler, serving, known to work. Returns
        {handler: what it returned}."""
        pairs = {handler: self.pair(handler) for handler in HANDLERS}
        for pair in pairs.values():
            self.serve(pair, PORT)
            self.in_pod(pair.client, "sysctl", "-qw", RETRIES)
            self.works(pair)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            return dict(zip(pairs, pool.map(function, pairs.values())))

    def works(self, pair):
        said, = self.dial(pair, pair.address, PORT)
        self.assertEqual(None, said["error"], pair.handler)

    def refusal(self, pair, *options, address=None, port=PORT):
        """How one connection fails: the error, and after how long."""
        said, = self.dial(pair, address or pair.address, port, *options)
        return said["error"], said["seconds"]

    def assert_same(self, seen):
        """An ICMP error that arrives while the SYN is still being sent only counts when the SYN is
        sent again, a second later. That is chance, natively too; all else takes the same time."""
        for key, (error, seconds) in seen["runc"].items():
            other, later = seen["shunt"][key]
            print(f"\n    {key}: runc {error} {seconds:.2f} s, Shunt {other} {later:.2f} s", end="")
        self.assertEqual(*({key: error for key, (error, _) in seen[handler].items()}
                           for handler in HANDLERS))
        for key, (error, seconds) in seen["runc"].items():
            slack = 0.5 if error == "ETIMEDOUT" else 1.5
            self.assertAlmostEqual(seconds, seen["shunt"][key][1], delta=slack, msg=str(key))

    def test_denied(self):
        """Each kind of denial, put in while the pods run, for blocking and non-blocking clients."""
        targets = {
            "drop": ["DROP"],
            "port unreachable": ["REJECT"],
            "reset": ["REJECT", "--reject-with", "tcp-reset"],
            "prohibited": ["REJECT", "--reject-with", "icmp-admin-prohibited"],
        }

        def one(pair):
            seen = {}
            for name, target in targets.items():
                rule = ["FORWARD", "-p", "tcp", "-d", pair.address, "--dport", str(PORT), "-j",
                        *target]
                self.node.execute(["iptables", "-w", "-I", *rule])
                seen[name, "blocking"] = self.refusal(pair)
                seen[name, "non-blocking"] = self.refusal(pair, "--nonblocking")
                self.node.execute(["iptables", "-w", "-D", *rule])
                self.works(pair)
            if pair.handler == "shunt":
                # Denied ones were left to the kernel, or its answer was passed on.
                paths = self.paths(pair.client)
                self.assertEqual(1 + len(targets), paths.pop("upgraded"))
                self.assertEqual({"connect-failed", "slow-handshake"}, {*paths, "slow-handshake"})
                self.assertEqual(2 * len(targets), sum(paths.values()))
            return seen

        seen = self.both(one)
        self.assert_same(seen)
        self.assertEqual("ETIMEDOUT", seen["shunt"]["drop", "blocking"][0])

    def test_denied_in_the_pod(self):
        """Filters of the pods' own namespaces (a service mesh, some network plugins)."""
        def one(pair):
            seen = {}
            for chain, pod in (("INPUT", pair.server), ("OUTPUT", pair.client)):
                rule = [chain, "-p", "tcp", "--dport", str(PORT), "-j", "DROP"]
                self.in_pod(pod, "iptables", "-w", "-A", *rule)
                seen[chain] = self.refusal(pair)
                self.in_pod(pod, "iptables", "-w", "-D", *rule)
                self.works(pair)
            return seen

        seen = self.both(one)
        self.assert_same(seen)
        self.assertEqual({"ETIMEDOUT"}, {error for error, _ in seen["shunt"].values()})

    def test_only_one_client_is_denied(self):
        """A policy names pods, not ports: the other client of the same server goes on."""
        pair, other = self.pair(), self.pair()
        self.serve(pair, PORT)
        self.in_pod(pair.client, "sysctl", "-qw", RETRIES)
        self.rule("-I", "FORWARD", "-s", self.cri.pod_address(pair.client), "-d", pair.address,
                  "-j", "DROP")
        self.assertEqual("ETIMEDOUT", self.refusal(pair)[0])
        said, = self.dial(other, pair.address, PORT)
        self.assertEqual(None, said["error"])
        self.assertEqual({"upgraded": 1}, self.paths(other.client))

    # Services

    def service(self, backends, affinity=False):
        """What kube-proxy makes of a service at VIP:80: a chance each, the last one takes the rest."""
        self.node.execute(["iptables", "-w", "-t", "nat", "-N", "SERVICE"])
        self.addCleanup(self.node.execute, ["iptables", "-w", "-t", "nat", "-X", "SERVICE"])
        self.addCleanup(self.node.execute, ["iptables", "-w", "-t", "nat", "-F", "SERVICE"])
        for chain in ("PREROUTING", "OUTPUT"):
            self.rule("-A", chain, "-p", "tcp", "-d", VIP, "--dport", "80", "-j", "SERVICE",
                      table="nat")
        nat = ["iptables", "-w", "-t", "nat", "-A", "SERVICE", "-p", "tcp"]
        to = [["-j", "DNAT", "--to-destination", f"{address}:{PORT}"] for address in backends]
        if affinity:
            for number, target in enumerate(to):
                self.node.execute([*nat, "-m", "recent", "--name", f"B{number}", "--rcheck",
                                   "--seconds", "600", "--rsource", *target])
        for number, target in enumerate(to):
            chance = 1 / (len(to) - number)
            match = ["-m", "statistic", "--mode", "random", "--probability", str(chance)]
            recent = ["-m", "recent", "--name", f"B{number}", "--set", "--rsource"]
            self.node.execute([*nat, *(match if chance < 1 else ()), *(recent if affinity else ()),
                               *target])

    def backends(self, handler, configs=(None, None)):
        """Two server pods and their clients."""
        pairs = [self.pair(handler, configs=configs) for _ in range(2)]
        for number, pair in enumerate(pairs):
            self.serve(pair, PORT, f"backend-{number}")
        return pairs

    def test_service_balances(self):
        for handler, configs in (*((handler, EVERY) for handler in HANDLERS),
                                 ("shunt", TCP_PAIRS)):
            pairs = self.backends(handler, configs)
            client = self.cri.pod_address(pairs[0].client)
            self.service([pair.address for pair in pairs])
            said = self.dial(pairs[0], VIP, 80, "--count", 200)
            self.assertEqual({None}, {each["error"] for each in said})
            self.assertEqual({f"{VIP}:80"}, {each["peer"] for each in said})
            taken = collections.Counter(each["answer"] for each in said)
            print(f"\n    {handler}: {dict(taken)}", end="")
            self.assertEqual({f"backend-0 {client}", f"backend-1 {client}"}, set(taken))
            self.assertGreater(min(taken.values()), 55)  # 6 standard deviations from 100
            if configs == TCP_PAIRS:  # they would show the backend's address
                self.assertEqual({"translated": 200}, self.paths(pairs[0].client))
            elif handler == "shunt":
                self.assert_upgraded(200, self.paths(pairs[0].client))
                for number, pair in enumerate(pairs):
                    accepted = self.paths(pair.server)
                    self.assertEqual(taken[f"backend-{number} {client}"], sum(accepted.values()))
                    self.assertEqual(set(), {*accepted} - {"accepted-fast", *ACCEPTED_LATE})
            self.doCleanups()

    def test_service_with_affinity(self):
        for handler in HANDLERS:
            pairs = self.backends(handler)
            self.service([pair.address for pair in pairs], affinity=True)
            for pair in pairs:
                said = self.dial(pair, VIP, 80, "--count", 20)
                self.assertEqual({None}, {each["error"] for each in said})
                self.assertEqual(1, len({each["answer"] for each in said}), "sticks to one backend")
                if handler == "shunt":
                    self.assert_upgraded(20, self.paths(pair.client))
            self.doCleanups()

    def test_service_without_backends(self):
        """kube-proxy rejects them. Nothing is listening at a backend; no route to a service."""
        self.node.execute(["sysctl", "-qw", "net.ipv4.icmp_ratelimit=0"])
        self.node.execute(["ip", "route", "add", f"{VIP}/32", "dev", "lo"])
        self.addCleanup(self.node.execute, ["ip", "route", "del", f"{VIP}/32", "dev", "lo"])
        self.rule("-I", "FORWARD", "-p", "tcp", "-d", VIP, "--dport", "80", "-j", "REJECT")

        def one(pair):
            return {(name, *options): self.refusal(pair, *options, address=address, port=port)
                    for name, address, port in (("no backends", VIP, 80), ("no route", NOWHERE, 80),
                                                ("not listening", pair.address, PORT + 1))
                    for options in ((), ("--nonblocking",))}

        seen = self.both(one)
        self.assert_same(seen)
        self.assertEqual("ECONNREFUSED", seen["shunt"]["no backends",][0])

    def test_service_loses_a_backend(self):
        """The rules change while connections come: each goes where the rules of its time say."""
        pairs = self.backends("shunt")
        self.service([pair.address for pair in pairs])
        self.dial(pairs[0], VIP, 80, "--count", 10)
        self.node.execute(["iptables", "-w", "-t", "nat", "-R", "SERVICE", "1", "-p", "tcp", "-j",
                           "DNAT", "--to-destination", f"{pairs[1].address}:{PORT}"])
        said = self.dial(pairs[0], VIP, 80, "--count", 20)
        self.assertEqual({"backend-1"}, {each["answer"].split()[0] for each in said})
        self.assert_upgraded(30, self.paths(pairs[0].client))


if __name__ == "__main__":
    harness.main()
