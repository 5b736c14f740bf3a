"""Where things are: the source tree, the build under test, the cache."""

import os
import shutil

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
SHIM_NAME = "containerd-shim-shunt-v2"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def build_dir():
    """The build whose shim is used: $SHUNT_BUILD (a preset name or a path), else the first of the
    release and dev builds that has a shim. The directory need not exist."""
    chosen = os.environ.get("SHUNT_BUILD")
    if chosen:
        return chosen if os.path.isabs(chosen) else os.path.join(ROOT, "build", chosen)
    candidates = [os.path.join(ROOT, "build", preset) for preset in ("release", "dev")]
    for candidate in candidates:
        if os.path.exists(os.path.join(candidate, "shim", SHIM_NAME)):
            return candidate
    return candidates[0]


def shim_binary():
    """Path of the shim under test, whether it exists or not."""
    return os.path.join(build_dir(), "shim", SHIM_NAME)


def cache_dir(*parts):
    """A directory that outlives runs: image archives, unpacked packages, generated protobuf code.
    Everything in it is named by what it was made from, so it never needs to be invalidated."""
    base = os.environ.get("SHUNT_CACHE")
    if not base:
        base = os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "shunt"
        )
    path = os.path.join(base, *parts)
    os.makedirs(path, exist_ok=True)
    return path


def search_path():
    """Where programs are looked for: $SHUNT_TOOLS, a directory with another containerd, ctr or runc
    to test with, then the system's. The caller's PATH is not consulted: what runs must be what
    scripts/deps installed."""
    return ":".join(filter(None, (os.environ.get("SHUNT_TOOLS"), SYSTEM_PATH)))


def tool(name):
    """Absolute path of a program."""
    found = shutil.which(name, path=search_path())
    if not found:
        raise FileNotFoundError(f"{name} is not installed; run scripts/deps")
    return found
