#!/usr/bin/python3
"""The guest programs (guests/README.md) in pods of containerd: client and server in two pods, for both
kinds of pair, and both in one pod. What they print is what they print natively."""

import itertools
import os
import shlex
import subprocess
import tempfile

import harness
from harness import LONG, QUICK
from lib import fabrics, paths
from pods import PodTest

_HERE = os.path.dirname(os.path.realpath(__file__))
GUESTS = os.path.join(paths.build_dir(), "integration", "guests")

# One of each kind; all of them run under shunt-launch (ctest guests_pods_*) and with SHUNT_LONG=1.
SHORT = """
    accept_address accept_after_fork accept_errors accept_order bad_memory client_killed close_unread
    connect_errors connect_nonblocking_errno descriptor_limit dup2_over echo_blocking echo_nonblocking
    epoll_before_connect epoll_edge_before_connect epoll_nested exec_keeps exec_listener
    fill_then_drain fork_before_connect half_close_client half_close_server inetd large_transfer
    linger_waits listener_closed_pending many_connections many_open names_short options_inherited
    pass_over_unix peer_killed_mid_transfer pipelining port_zero prefork refused reuseport
    second_connect sendfile sendmmsg_recvmmsg server_speaks_first shutdown_wakes
    signals_accept_restart signals_connect_norestart socket_options splice_through tcp_info
    tcp_options_kept threads_connect threads_share tiny_writes_first tiny_writes_one_way
    tiny_writes_poll unix_untouched urgent
    v6_dual_stack v6_mapped_client waitall
""".split()


class Guests(PodTest):
    ports = itertools.count(7600, 400)
    differing_anyway = ("containers",)

    def under(self, container):
        """A command line prefix that runs a program in a container, as kubectl exec does."""
        argv = container.node.ctr_argv("task", "exec", "--exec-id", "ID", container.id, namespace="k8s.io")
        line = shlex.join(argv).replace("ID", "g$$", 1)
        return shlex.join(["sh", "-c", f'exec {line} "$@"', "sh"])

    def containers(self, configs):
        pair = self.pair(harness.HANDLER, configs=configs)
        pair.mounts = [(GUESTS, GUESTS)]  # the same path inside
        server = pair.serve("server", "sleep", "infinity", image="busybox")
        return pair, server, pair.client_container("busybox")

    def run_guests(self, pair, *options, differs, step=1):
        names = [] if LONG else SHORT[::4] if QUICK else SHORT[::step]
        argv = ["/usr/bin/python3", "-B", os.path.join(_HERE, "guests", "run_guests.py"), GUESTS,
                *options, "--jobs", "2", "--differs", differs, *names]
        result = subprocess.run(argv, capture_output=True, text=True, timeout=900,
                                env={**os.environ, **self.node.env()})
        print(f"\n    {result.stdout.splitlines()[-1]}; {self.paths(pair.client)}", end=" ")
        self.assertEqual(0, result.returncode, result.stdout + result.stderr)
        self.check_paths(self.paths(pair.client), len(names))

    def check_paths(self, paths, guests):
        """Whether the connections of so many guests went as they should."""
        self.assertGreater(sum(paths.get(path, 0) for path in fabrics.FAST), guests)

    def differing(self, kind):
        """The list of what differs for that kind of pair (None: none), and what differs anyway."""
        file = self.enterContext(tempfile.NamedTemporaryFile("w", suffix=".txt"))
        for name in (kind, *self.differing_anyway) if kind else self.differing_anyway:
            with open(os.path.join(_HERE, "guests", f"differs_{name}.txt"), encoding="utf-8") as part:
                file.write(part.read())
        file.flush()
        return file.name

    def apart(self, kind, config=None):
        """`kind` is what the applications' sockets are of; by default also what pairs are made of."""
        config = config or {"upgrade": {"pair": kind}}
        pair, server, client = self.containers((config, config))
        self.run_guests(pair, "--server-under", self.under(server), "--client-under",
                        self.under(client), "--address", pair.address, "--port",
                        str(next(self.ports)), differs=self.differing(kind))

    def test_pairs_of_kind_unix(self):
        self.apart("unix")

    def test_pairs_of_kind_tcp(self):
        self.apart("tcp")

    def test_in_one_pod(self):
        pair, _, client = self.containers((None, None))
        self.run_guests(pair, "--under", self.under(client), differs=self.differing("unix"), step=2)


if __name__ == "__main__":
    if not os.path.isdir(GUESTS) or not os.path.exists(os.path.join(GUESTS, "echo_blocking")):
        print("skipped: the guests are not built (a sanitizer build)")
        raise SystemExit(77)
    harness.main()
