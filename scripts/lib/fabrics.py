"""Which ways between nodes the build under test has: found out by letting two pods talk."""

import os

from .node import CommandFailed
from .pair import PodPair, inspected

NAMES = {"host": "Shunt host", "window": "Shunt window", "verbs": "Shunt verbs"}
# The paths of `shunt inspect` by which a client's connection leaves the kernel's own way.
FAST = {"upgraded", "over-host", "over-window", "over-verbs"}
_TRIES = 5  # connections; the first ones may still find nobody


def configuration(name, directory=None, wait=None):
    """Shunt's configuration with nothing but this fabric; `directory` is where the nodes share
    memory, for window, and `wait` how long a connect may wait, for machines that are slow."""
    fabrics = {"enabled": [name]}
    if wait:
        fabrics["wait"] = wait
    if name == "window":
        fabrics["window"] = {"directory": directory}
    return {"fabrics": fabrics}


def offered(server_node, client_node, directory, names=tuple(NAMES), wait=None):
    """{name: configuration} of the fabrics over which connections between the nodes really go."""
    found = {}
    for name in names:
        config = configuration(name, directory, wait)
        if _goes_over(name, server_node, client_node, config):
            found[name] = config
    return found


def _goes_over(name, server_node, client_node, config):
    try:
        with PodPair(server_node, "shunt", (config, config), client_node=client_node) as pair:
            pair.serve("web", "httpd", "-f", "-p", "80", image="busybox")
            pair.wait_port(80)
            for _ in range(_TRIES):
                # That there is no page is an answer, too.
                pair.call("busybox", "sh", "-c", f"wget -qO- http://{pair.address}/ || true")
            return paths_taken(pair).get(f"over-{name}", 0) > 0
    except CommandFailed:
        return False


def paths_taken(pair):
    """{path: how many connections of the client's pod took it}"""
    for pod in inspected(pair.client_node):
        if pod["pod"]["id"] == pair.client.id:
            return {each["path"]: each["count"] for each in pod["paths"] if each["count"]}
    return {}


def fast(pair):
    """How many connections of the client's pod left the kernel's own path."""
    return sum(count for path, count in paths_taken(pair).items() if path in FAST)


def shared_directory(folder):
    """A directory for windows below one that both nodes see."""
    path = os.path.join(folder, "windows")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path
