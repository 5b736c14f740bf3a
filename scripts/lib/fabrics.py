"""Which ways between nodes the build under test has."""

import os

from . import paths

NAMES = {"host": "Shunt host", "window": "Shunt window", "verbs": "Shunt verbs"}


def configuration(name):
    """Shunt's configuration with nothing but this fabric; None: no fabric at all."""
    return {"fabrics": {"enabled": [name] if name else []}}


def offered(node, names=tuple(NAMES)):
    """Those of the fabrics that the build accepts in a configuration."""
    return [name for name in names if _accepts(node, configuration(name))]


def _accepts(node, config):
    path = node.write_config(config, os.path.join(node.dir, "offered.yaml"))
    shunt = os.path.join(os.path.dirname(paths.shim_binary()), "shunt")
    result = node.execute([shunt, "inspect", "--config", path], check=False)
    return result.returncode == 0
