"""C programs of the tests, compiled on first use and kept in the cache by their source."""

import hashlib
import os
import subprocess
import tempfile

from . import paths

_COMMAND = ("-O2", "-static", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-pthread")


def compiled(source):
    """Path of the static program made from a C file."""
    name = os.path.splitext(os.path.basename(source))[0]
    with open(source, "rb") as file:
        key = hashlib.sha256(repr(_COMMAND).encode() + file.read()).hexdigest()[:24]
    target = os.path.join(paths.cache_dir("programs"), f"{name}-{key}")
    if not os.path.exists(target):
        with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as folder:
            made = os.path.join(folder, name)
            subprocess.run([paths.tool("gcc"), *_COMMAND, "-o", made, source], check=True,
                           timeout=60)
            os.rename(made, target)
    return target


def contents(source):
    """The program itself, for the files of an Image."""
    with open(compiled(source), "rb") as file:
        return file.read()
