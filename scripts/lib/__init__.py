"""Private containerd nodes for tests, the demo and benchmarks.

    import os, sys
    sys.path.insert(0, os.path.join(ROOT, "scripts"))
    from lib import Node, RUNC, SHUNT

    with Node() as node:
        node.image("busybox")
        print(node.run("c1", "echo", "hello", runtime=SHUNT).stdout)

`node.py` is the place to start; scripts/README.md has a page on the whole.
"""

from .images import IMAGES, Image
from .node import RUNC, SHUNT, CommandFailed, Node, Skip

__all__ = ["IMAGES", "Image", "RUNC", "SHUNT", "CommandFailed", "Node", "Skip"]
