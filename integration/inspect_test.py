#!/usr/bin/python3
"""What `shunt inspect` tells of pods, their connections and their annotations."""

import grpc
import harness
from lib.pair import inspect
from pods import DIAL, PodTest, inspected, wait_until

PORT = 7200
PAIR = "shunt.io/upgrade.pair"


class Inspect(PodTest):
    def shown(self, pod):
        document, = inspected(self.node, pod.id)
        return document

    def hold(self, pair, name):
        """A container of the client's pod that keeps a connection to the server."""
        return self.cri.run_container(pair.client, name, "python3", "/dial.py", "dial",
                                      pair.address, str(PORT), "--hold", "1000", image=DIAL)

    def connections(self, pod, count):
        """Those of the pod, once there are so many. One that no process has taken yet has no age."""
        def seen():
            found = self.shown(pod)["connections"]
            ready = len(found) == count and all(each["age_s"] is not None for each in found)
            return found if ready else None
        return wait_until(seen, f"{count} connections", 30)

    def test_a_connection_has_an_age_and_a_peer(self):
        pair = self.pair()
        self.serve(pair, PORT)
        self.hold(pair, "first")
        for pod, other in ((pair.client, pair.server), (pair.server, pair.client)):
            connection, = self.connections(pod, 1)
            self.assertEqual("default/" + other.config.metadata.name, connection["peer_pod_name"])
            self.assertEqual(other.id, connection["peer_pod"])
            self.assertTrue(0 <= connection["age_s"] < 60, connection)
        age = connection["age_s"]
        # Meanwhile the server's accept waits, and that is no time that Shunt took.
        wait_until(lambda: self.connections(pair.server, 1)[0]["age_s"] > age + 3, "older", 10)
        self.hold(pair, "second")
        ages = sorted(each["age_s"] for each in self.connections(pair.server, 2))
        self.assertGreater(ages[1] - ages[0], 2)
        for pod in (pair.client, pair.server):
            slow = [row for row in self.shown(pod)["latency"]
                    if row["within_us"] > 2_000_000 and row["count"]]
            self.assertEqual([], slow)

    def test_what_people_read(self):
        pair = self.pair()
        self.serve(pair, PORT)
        self.hold(pair, "client")
        self.connections(pair.client, 1)
        text = inspect(self.node, pair.client.id)
        self.assertRegex(text, r"FAST CONNECTION +PEER +DIRECTION +AGE ")
        self.assertRegex(text, r" out +\d+s .* default/server-\d+\n")
        self.assertRegex(text, r"upgraded +1 +runs over a direct socket pair\n")

    def test_a_listener_is_listed_once(self):
        pair = self.pair()
        self.serve(pair, PORT)
        self.dial(pair, pair.address, PORT, "--count", 200)
        listeners = self.shown(pair.server)["listeners"]
        self.assertEqual([(f"0.0.0.0:{PORT}", True, 1)],
                         [(each["address"], each["supervised"], each["sockets"])
                          for each in listeners])

    def test_the_kind_of_pair_by_annotation(self):
        pod = self.pod("annotated", annotations={PAIR: "tcp"})
        self.cri.run_container(pod, "as-the-pod", "sleep", "1000")
        self.cri.run_container(pod, "its-own", "sleep", "1000", annotations={PAIR: "unix"})
        kinds = {each["name"]: each["pair"] for each in self.shown(pod)["containers"]}
        self.assertEqual({"as-the-pod": "tcp", "its-own": "unix"},
                         {name: kinds[name] for name in ("as-the-pod", "its-own")})
        # The connections of each are of its kind.
        pair = self.pair()
        self.serve(pair, PORT)
        for kind in ("tcp", "unix"):
            dialler = self.cri.run_container(
                pod, f"dial-{kind}", "python3", "/dial.py", "dial", pair.address, str(PORT),
                "--hold", "1000", image=DIAL, annotations={PAIR: kind})
            wait_until(dialler.log, "connection", 30)
        self.assertEqual({"upgraded": 2}, self.paths(pod))
        found = self.connections(pod, 2)
        self.assertEqual(["tcp", "unix"], sorted(each["pair"] for each in found))
        self.assertTrue(all(0 <= each["age_s"] < 60 for each in found), found)

    def test_a_bad_annotation_is_one_sentence(self):
        sentence = 'annotation shunt.io/upgrade.pair is "udp", it must be "unix" or "tcp"'
        pod = self.pod("plain")
        with self.assertRaises(grpc.RpcError) as raised:
            self.cri.run_container(pod, "bad", "sleep", "1000", annotations={PAIR: "udp"})
        self.assertIn(sentence, raised.exception.details())
        with self.assertRaises(grpc.RpcError) as raised:
            self.pod("bad", annotations={PAIR: "udp"})
        self.assertIn(sentence, raised.exception.details())


class Limits(harness.NodeTest):
    def test_only_the_shim_may_open_more_files(self):
        """The shim's limit is raised; what the container inherits is not."""
        def limits(pid):
            with open(f"/proc/{pid}/limits", encoding="ascii") as file:
                line, = [line for line in file if line.startswith("Max open files")]
            return tuple(map(int, line.split()[3:5]))

        self.addCleanup(self.assert_clean)
        self.addCleanup(self.node.remove, "c")
        self.node.start("c", "sleep", "1000")
        soft, hard = limits(self.node.shim_of("c"))
        self.assertEqual(hard, soft)
        expected = self.node.run("r", "sh", "-c", "ulimit -Sn; ulimit -Hn", runtime=harness.RUNC)
        got = self.node.run("s", "sh", "-c", "ulimit -Sn; ulimit -Hn")
        self.assertEqual(expected.stdout, got.stdout)


if __name__ == "__main__":
    harness.main()
