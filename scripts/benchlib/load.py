"""The measuring program load.c: compiled on first use, and put into an image."""

import hashlib
import os
import subprocess
import tempfile

from lib import paths
from lib.images import Image

_SOURCE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "load.c")
_COMMAND = ("-O2", "-static", "-Wall", "-Wextra")


def program():
    """Path of the compiled program, kept in the cache by its source."""
    with open(_SOURCE, "rb") as file:
        key = hashlib.sha256(repr(_COMMAND).encode() + file.read()).hexdigest()[:24]
    target = os.path.join(paths.cache_dir("programs"), f"load-{key}")
    if not os.path.exists(target):
        with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as folder:
            made = os.path.join(folder, "load")
            subprocess.run([paths.tool("gcc"), *_COMMAND, "-o", made, _SOURCE], check=True,
                           timeout=60)
            os.rename(made, target)
    return target


def image():
    """An image with the program as `load`."""
    with open(program(), "rb") as file:
        return Image("load", files=(("/usr/bin/load", 0o755, file.read()),))
