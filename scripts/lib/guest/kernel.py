"""The kernel that guests boot: Debian's own, unpacked from its package, and an initramfs for it.

The modules are used from where they were unpacked, through the shared file system; the initramfs has
only those without which that cannot be mounted.
"""

import dataclasses
import hashlib
import os
import re
import subprocess
import tempfile

from .. import paths
from ..images import unpack

_METAPACKAGE = "linux-image-amd64"  # not the cloud one: that has no Soft-RoCE
_INIT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "init.sh")
_EARLY = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")


@dataclasses.dataclass(frozen=True)
class Kernel:
    """version, and paths of the image, of the directory `lib/modules`, and of the initramfs."""

    version: str
    image: str
    modules: str
    initramfs: str


def kernel():
    """Debian's current kernel; fetched and prepared on first use."""
    package = _package()
    tree, = unpack([package])
    version = package.removeprefix("linux-image-")
    modules = os.path.join(tree, "lib/modules")
    if not os.path.exists(os.path.join(modules, version, "modules.dep.bin")):
        subprocess.run([paths.tool("depmod"), "-b", tree, version], check=True)
    return Kernel(version, os.path.join(tree, f"boot/vmlinuz-{version}"), modules,
                  _initramfs(tree, version))


def _package():
    result = subprocess.run(["/usr/bin/apt-cache", "depends", _METAPACKAGE], capture_output=True,
                            text=True, check=True)
    found = re.search(r"Depends: (linux-image-\S+)", result.stdout)
    if not found:
        raise FileNotFoundError(f"apt knows no {_METAPACKAGE}; run apt-get update")
    return found.group(1)


def _initramfs(tree, version):
    """A cpio archive: busybox, the first modules in the order of their need, and /init."""
    modules = []
    for name in _EARLY:
        result = subprocess.run(
            [paths.tool("modprobe"), "-d", tree, "-S", version, "--show-depends", name],
            capture_output=True, text=True, check=True)
        for line in result.stdout.splitlines():
            word, path, *_ = line.split()
            if word == "insmod" and path not in modules:
                modules.append(path)
    with open(_INIT, "rb") as file:
        init = file.read()
    busybox = paths.tool("busybox")
    key = hashlib.sha256(repr((1, version, modules, init, os.stat(busybox).st_mtime_ns)).encode())
    target = os.path.join(paths.cache_dir("guest"), f"initramfs-{key.hexdigest()[:24]}")
    if os.path.exists(target):
        return target
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(target), delete=False) as out:
        archive = _Cpio(out)
        for folder in ("bin", "modules", "proc", "lower", "upper", "new"):
            archive.add(folder, 0o040755, b"")
        with open(busybox, "rb") as file:
            archive.add("bin/busybox", 0o100755, file.read())
        for number, path in enumerate(modules):
            with open(path, "rb") as file:
                archive.add(f"modules/{number:02}-{os.path.basename(path)}", 0o100644, file.read())
        archive.add("init", 0o100755, init)
        archive.add("TRAILER!!!", 0, b"")
    os.rename(out.name, target)
    return target


class _Cpio:
    """An archive in the kernel's format (Documentation/driver-api/early-userspace)."""

    def __init__(self, out):
        self._out = out
        self._number = 0

    def add(self, name, mode, data):
        self._number += 1
        encoded = name.encode() + b"\0"
        # magic; ino mode uid gid nlink mtime filesize, four device numbers, namesize, check
        fields = (self._number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        self._out.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))
