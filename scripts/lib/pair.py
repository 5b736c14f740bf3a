"""Two pods, a server's and a client's, for the demonstration and the benchmarks.

    with PodPair(node, "shunt") as pair:
        pair.serve("redis", "redis-server", "--save", "", image="redis")
        pair.wait_port(6379)
        print(pair.call("redis", "redis-cli", "-h", pair.address, "ping"))
"""

import itertools
import json
import os

from . import paths, proc
from .node import wait_until

_serial = itertools.count()


def run_pod(node, name, config=None, **arguments):
    """A pod of the node whose shim has that configuration (None: what the node was made with)."""
    # A pod's shim reads the file once, when it starts.
    node.write_config(node.config if config is None else config)
    try:
        return node.cri.run_pod(name, **arguments)
    finally:
        node.write_config(node.config)


class PodPair:
    """`handler` is the runtime handler of both pods, `configs` what the node's Shunt configuration
    holds while the server's and the client's pod start (None: what the node was made with), and
    `shared` a directory of the machine that containers of both pods see as /shared. The client's pod
    is on `client_node`, which is the same node if not given; with `host_network` both pods use the
    networks of their nodes. `seccomp` is the profile of containers, as in Cri.create_container.

    Attributes: server, client (Pods), address (the server pod's), shared.
    """

    def __init__(self, node, handler, configs=(None, None), shared=None, client_node=None,
                 host_network=False, seccomp="RuntimeDefault"):
        self.node = node
        self.client_node = client_node or node
        self.handler = handler
        self.host_network = host_network
        self.configs = configs
        self.shared = shared
        self.seccomp = seccomp
        self.mounts = [(shared, "/shared")] if shared else []
        self._servers = []
        self._clients = {}  # image -> container

    def __enter__(self):
        number = next(_serial)
        self.server = self.client = None
        try:
            self.server = self._pod(self.node, f"server-{number}", self.configs[0])
            self.client = self._pod(self.client_node, f"client-{number}", self.configs[1])
            self.address = (self.node.host_address if self.host_network
                            else self.node.cri.pod_address(self.server))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node, pod in ((self.client_node, self.client), (self.node, self.server)):
            if pod:
                node.cri.remove_pod(pod)

    def _pod(self, node, name, config):
        return run_pod(node, name, config, handler=self.handler, host_network=self.host_network)

    def serve(self, name, *command, image):
        """Starts a container in the server's pod."""
        container = self.node.cri.run_container(
            self.server, name, *command, image=image, mounts=self.mounts, seccomp=self.seccomp)
        self._servers.append(container)
        return container

    def wait_port(self, port, timeout=20, pod=None):
        """Waits until somebody in the server's pod (or another one) listens at the port."""
        pod = pod or self.server
        pid = pod.node.cri.pid(pod)
        wait_until(lambda: pod.node.listens(pid, port), f"listener at port {port}", timeout)

    def client_container(self, image):
        """The container of the client's pod with the image's programs."""
        if image not in self._clients:
            self._clients[image] = self.run_client(
                f"tools-{len(self._clients)}", "sleep", "infinity", image=image)
        return self._clients[image]

    def run_client(self, name, *command, image):
        """Starts a container in the client's pod."""
        return self.client_node.cri.run_container(
            self.client, name, *command, image=image, mounts=self.mounts, seccomp=self.seccomp)

    def call(self, image, *command, timeout=60):
        """Runs a command in the client's pod, as an exec; returns what it printed."""
        result = self.client_node.cri.exec(self.client_container(image), *command, timeout=timeout)
        if result.exit_code != 0:
            raise RuntimeError(f"{' '.join(command)}: exit status {result.exit_code}\n"
                               f"{result.stdout}{result.stderr}")
        return result.stdout

    def shims(self):
        """Pids of the two pods' shims."""
        return [self._shim(self.node, self.server), self._shim(self.client_node, self.client)]

    def _shim(self, node, pod):
        parents, shims, pid = proc.parents(), set(node.shims()), node.cri.pid(pod)
        while pid and pid not in shims:
            pid = parents.get(pid, 0)
        return pid

    def processes_of(self, pod):
        """Pids of the shim of one of the pods and of everything that runs in it."""
        shim = self._shim(self.node if pod is self.server else self.client_node, pod)
        return [shim, *proc.descendants(shim)]

    def processes(self):
        """Pids of the shims and of everything that runs in the pods."""
        return self.processes_of(self.server) + self.processes_of(self.client)


def inspect(node, *args):
    """What `shunt inspect` prints about a node."""
    return _shunt(node, "inspect", *args)


def inspected(node, *args):
    """The same for programs: a list, one dict a pod."""
    return json.loads(_shunt(node, "inspect", "-o", "json", *args))


def _shunt(node, command, *args):
    shunt = os.path.join(os.path.dirname(paths.shim_binary()), "shunt")
    # --config: what this machine's own file says does not matter.
    return node.execute([shunt, command, "--config", node.config_path, *args]).stdout
