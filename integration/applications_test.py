#!/usr/bin/python3
"""Applications as Debian ships them, client and server in two pods: they give the right results, and
`shunt inspect` shows their connections as fast. SHUNT_LONG=1: more of it, and with pairs of kind
tcp too."""

import concurrent.futures
import hashlib
import json
import re
import time

import applications as apps
import harness
from harness import LONG
from lib import fabrics
from pods import ACCEPTED_FAST, ACCEPTED_LATE, FAST, LATE, PodTest, inspected


class Applications(PodTest):
    # Programs that connect for each request are here to show that it works, not whether it pays.
    every = {"upgrade": {"short_lived": "upgrade"}}
    configs = (every, every)
    late = LATE
    many = 10 if LONG else 1

    def setUp(self):
        super().setUp()
        self.used = []

    def pair(self, *args, **kwargs):
        pair = super().pair(*args, configs=self.configs, **kwargs)
        self.used += [pair.server, pair.client]
        return pair

    def watched(self, function, enough=0, then=None):
        """function(), and the fast connections that inspect showed meanwhile, as a set. When there are
        `enough`, then()."""
        seen = set()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(function)
            while not running.done():
                for node in {self.node, self.client_node}:
                    for pod in inspected(node):
                        seen |= {(each["local"], each["remote"]) for each in pod["connections"]}
                if then and len(seen) >= enough:
                    then()
                    then = None
                time.sleep(0.02)
        return running.result(), seen

    def assert_fast(self, at_least, *pods):
        """All connections of the pods were upgraded, and both sides say so. Bounded waits may leave
        one on TCP when the machine is busy, rarely, and that is no fault: a non-blocking connect
        whose handshake takes time, a server that waited 20 ms for a client's decision (`late`)."""
        paths = {}
        for pod in pods or self.used:
            for path, count in self.paths(pod).items():
                paths[path] = paths.get(path, 0) + count
        print(f" {paths}", end="", flush=True)
        fast = sum(paths.get(path, 0) for path in fabrics.FAST)
        late = sum(paths.get(path, 0) for path in self.late)
        self.assertGreaterEqual(fast + late, at_least)
        harness.wait_until(lambda: sum(self.paths(pod).get(path, 0) for pod in pods or self.used
                                       for path in ACCEPTED_FAST) == fast,
                           "equal numbers of both sides", 30)
        slow = {path: count for path, count in paths.items() if path not in FAST}
        self.assertEqual(set(), set(slow) - {*self.late, *ACCEPTED_LATE}, paths)
        self.assertLessEqual(late, (fast + late) // 10)

    # Stores

    def test_redis(self):
        pair = self.pair()
        pair.serve("redis", "redis-server", "--save", "", "--protected-mode", "no", image="redis")
        pair.wait_port(6379)
        count = 200000 * self.many  # long enough for inspect to see the connections

        def work():
            return pair.call("redis", "redis-benchmark", "-h", pair.address, "-n", str(count), "-c",
                             "20", "-P", "4", "incr", "counter", timeout=120)

        _, seen = self.watched(work)
        self.assertEqual(f"{count}\n", pair.call("redis", "redis-cli", "-h", pair.address, "get",
                                                 "counter"))
        self.assertGreaterEqual(len(seen), 20)
        self.assert_fast(21)

    def test_memcached(self):
        pair = self.pair()
        pair.serve("memcached", "memcached", "-u", "root", "-t", "4", "-l", "0.0.0.0",
                   image=apps.MEMCACHED)
        pair.wait_port(11211)
        both_ends = 2 * 20
        said, seen = self.watched(
            lambda: pair.call(apps.PYTHON, "python3", "/cached.py", pair.address, "11211", "20",
                              "1000", "/tmp/seen"),
            both_ends, lambda: pair.call(apps.PYTHON, "touch", "/tmp/seen"))
        self.assertEqual("right: 1000\n", said)
        self.assertEqual(both_ends, len(seen))
        self.assert_fast(20)

    def test_postgresql(self):
        pair = self.pair()
        pair.serve("postgresql", *apps.POSTGRESQL_COMMAND, image=apps.POSTGRESQL)
        pair.wait_port(5432, timeout=60)
        where = ["-h", pair.address, "-U", "user"]
        psql = lambda query: pair.call(  # noqa: E731
            apps.POSTGRESQL, "psql", *where, "-tAc", query, "postgres")
        pair.call(apps.POSTGRESQL, "pgbench", *where, "-iq", "postgres", timeout=120)
        text, seen = self.watched(lambda: pair.call(
            apps.POSTGRESQL, "pgbench", *where, "-c", "8", "-j", "2", "-t", str(200 * self.many),
            "postgres", timeout=120))
        self.assertIn(f"transactions actually processed: {1600 * self.many}/{1600 * self.many}", text)
        self.assertEqual("t\n", psql("select (select sum(abalance) from pgbench_accounts)"
                                     " = (select sum(delta) from pgbench_history)"))
        # A large result, and one that is copied in and out.
        self.assertEqual(hashlib.md5(b"".join(b"%d\n" % n for n in range(1, 300001))).hexdigest(),
                         hashlib.md5(psql("select generate_series(1, 300000)").encode()).hexdigest())
        self.assertGreaterEqual(len(seen), 8)
        self.assert_fast(10)

    # The web

    def fetch(self, pair, port):
        """Every page by one curl, over one connection; all must be right."""
        urls = [f"http://{pair.address}:{port}/{number}" for number in apps.PAGES]
        curl = f"curl -sS --fail --max-time 60 {' '.join(urls)} | sha256sum"
        digest = pair.call(apps.CURL, "sh", "-c", curl, timeout=90).split()[0]
        self.assertEqual(hashlib.sha256("".join(map(apps.page, apps.PAGES)).encode()).hexdigest(),
                         digest)

    def load(self, pair, port, number=3):
        text = pair.call(apps.WRK, "wrk", "-t2", "-c20", f"-d{2 * self.many}",
                         f"http://{pair.address}:{port}/{number}", timeout=60)
        self.assertNotRegex(text, "Non-2xx|Socket errors")
        return int(re.search(r"(\d+) requests in", text).group(1))

    def test_nginx_and_curl(self):
        pair = self.pair()
        pair.serve("nginx", *apps.NGINX_COMMAND, image=apps.nginx())
        pair.wait_port(8080)
        self.fetch(pair, 8080)
        curl = ("curl -sS --fail -o /tmp/page -w '%{size_download} %{remote_ip} %{remote_port}"
                f" %{{local_ip}}\\n' http://{pair.address}:8080/9")
        said = pair.call(apps.CURL, "sh", "-c", f"for i in $(seq 20); do {curl} || exit; done")
        self.assertEqual([f"{len(apps.page(9))} {pair.address} 8080"
                          f" {pair.client.node.cri.pod_address(pair.client)}"] * 20,
                         said.splitlines())
        requests, seen = self.watched(lambda: self.load(pair, 8080))
        self.assertGreater(requests, 1000)
        self.assertGreaterEqual(len(seen), 20)
        self.assert_fast(21 + 20)

    def proxied(self, image, command, *ports):
        """client -> proxy -> nginx, three pods; a connection for each of client and proxy. With two
        nodes nginx is beside the client, so that both are between the nodes."""
        pair = self.pair()
        behind = self.pod("behind", node=self.client_node, config=self.configs[1])
        self.used.append(behind)
        cri = self.client_node.cri
        cri.run_container(behind, "nginx", *apps.NGINX_COMMAND, image=apps.nginx())
        pair.wait_port(8080, pod=behind)
        pair.serve("proxy", *command, image=image(cri.pod_address(behind)))
        for port in ports:
            pair.wait_port(port)
            self.fetch(pair, port)
        requests, seen = self.watched(lambda: self.load(pair, ports[0]))
        self.assertGreater(requests, 500)
        self.assertGreaterEqual(len(seen), 40)
        self.assert_fast(20 * len(ports))
        # Kept, not made anew for each request.
        self.assertLess(sum(count for path, count in self.paths(pair.server).items()
                            if path in fabrics.FAST), requests / 2)

    def test_nginx_as_proxy(self):
        self.proxied(apps.nginx, apps.NGINX_COMMAND, 8081)

    def test_haproxy(self):
        self.proxied(apps.haproxy, ("haproxy", "-db", "-f", "/etc/haproxy.cfg"), 8081, 8082)

    def hashes(self, image, serve, ask, count=200, connections=10):
        """One program that serves and asks, and counts what was right."""
        pair = self.pair()
        pair.serve("server", *serve, "8080", image=image)
        pair.wait_port(8080, timeout=40)
        said, seen = self.watched(lambda: pair.call(
            image, *(word.replace("HOST", pair.address) for word in ask), timeout=120))
        self.assertEqual(f"right: {count}\n", said)
        self.assertGreaterEqual(len(seen), connections)
        self.assert_fast(connections)

    def test_node(self):
        self.hashes(apps.NODEJS, ("node", "/hash.js", "serve"),
                    ("node", "/hash.js", "ask", "HOST", "8080", str(200 * self.many)), 200 * self.many)

    def test_go(self):
        self.hashes(apps.go(), ("hash", "serve"), ("hash", "ask", "HOST:8080", str(300 * self.many)),
                    300 * self.many)

    def test_python_asyncio(self):
        self.hashes(apps.PYTHON, ("python3", "/streams.py", "serve"),
                    ("python3", "/streams.py", "ask", "HOST", "8080", "50", str(20 * self.many)),
                    1000 * self.many, 50)

    def test_java(self):
        self.hashes(apps.JAVA, ("java", "/Hash.java", "serve"),
                    ("java", "/Hash.java", "ask", "HOST", "8080", str(200 * self.many)), 200 * self.many, 1)

    # Others

    def test_openssh(self):
        with self.shared() as folder:
            pair = self.pair(shared=folder)
            pair.call(apps.OPENSSH, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                      "/shared/key")
            pair.serve("sshd", *apps.OPENSSH_COMMAND, image=apps.OPENSSH)
            pair.wait_port(2222)
            options = ["-i", "/shared/key", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]
            ssh = ["ssh", "-p", "2222", *options, pair.address]
            self.assertEqual("from the other pod\n", pair.call(apps.OPENSSH, *ssh, "echo from the"
                                                               " other pod"))
            pair.call(apps.OPENSSH, "dd", "if=/dev/urandom", "of=/tmp/file", "bs=1M", "count=64")

            def copy():
                pair.call(apps.OPENSSH, "scp", "-q", "-P", "2222", *options, "/tmp/file",
                          f"{pair.address}:/tmp/there")
                pair.call(apps.OPENSSH, "scp", "-q", "-P", "2222", *options,
                          f"{pair.address}:/tmp/there", "/tmp/back")

            _, seen = self.watched(copy)
            digests = pair.call(apps.OPENSSH, "sha256sum", "/tmp/file", "/tmp/back").split()
            self.assertEqual(digests[0], digests[2])
            self.assertEqual(digests[0], pair.call(apps.OPENSSH, *ssh, "sha256sum /tmp/there")
                             .split()[0])
            self.assertGreaterEqual(len(seen), 2)
            self.assert_fast(4)

    def shared(self):
        import tempfile

        return tempfile.TemporaryDirectory(prefix="shunt-applications-")

    def test_iperf3(self):
        pair = self.pair()
        pair.serve("iperf3", "iperf3", "-s", image="iperf3")
        pair.wait_port(5201)
        everything = set()
        for options in ((), ("-R",), ("--bidir",), ("-P", "8"), ("-l", "100"), ("-Z",)):
            text, seen = self.watched(lambda: pair.call(  # noqa: B023
                "iperf3", "iperf3", "-c", pair.address, "-t", str(self.many), "-J", *options))  # noqa: B023
            end = json.loads(text)["end"]
            self.assertGreater(end["sum_received"]["bytes"], 1 << 20, options)
            everything |= seen
        self.assertGreaterEqual(len(everything), 12)
        self.assert_fast(6 + 6 + 1 + 7)


class OverTcpPairs(Applications):
    configs = ({"upgrade": {"pair": "tcp", "short_lived": "upgrade"}},) * 2
    many = 1

    def setUp(self):
        if not LONG:
            self.skipTest("SHUNT_LONG=1 runs them")
        super().setUp()


if __name__ == "__main__":
    harness.main()
