"""containerd and runc of other Debian releases, to test with: fetched, unpacked, never installed."""

import os
import subprocess
import tempfile

from . import paths

# Debian's names: 13 has containerd 1.7, unstable 2.x and a newer runc.
SUITES = ("trixie", "unstable")

_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


class Unavailable(Exception):
    """The release cannot be had here; the text says why."""


def tools(suite):
    """A directory with containerd, ctr, containerd's shim and runc of `suite`, for $SHUNT_TOOLS. Kept;
    remove it from the cache to have it fetched anew. Raises Unavailable."""
    folder = os.path.join(paths.cache_dir("releases"), suite)
    if not os.path.isdir(folder):
        with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as work:
            os.chmod(work, 0o755)
            made = os.path.join(work, "release")
            for package in _fetch(suite, ("containerd", "runc", "libc6", "libseccomp2"), work):
                subprocess.run(["/usr/bin/dpkg-deb", "-x", package, made], check=True)
            _give_libraries(os.path.join(made, "usr/sbin/runc"), os.path.join(folder, _LIBRARIES))
            os.rename(made, folder)
    return os.path.join(folder, "usr/bin")


def _fetch(suite, packages, work):
    """Paths of the packages, fetched with lists of apt's that are this call's alone."""
    for name in ("lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(work, name))
    sources = os.path.join(work, "sources.list")
    with open(sources, "w", encoding="utf-8") as file:
        file.write(f"deb [signed-by={_KEYS}] http://deb.debian.org/debian {suite} main\n")
    options = {
        "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "-", "Dir::State": work,
        "Dir::State::status": "/dev/null", "Dir::Cache": os.path.join(work, "cache"),
        "APT::Sandbox::User": "root", "Acquire::Languages": "none", "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
    }
    apt = ["/usr/bin/apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    for command in (["update", "--error-on=any"], ["download", *packages]):
        result = subprocess.run([*apt, *command], cwd=work, capture_output=True, text=True,
                                check=False)
        if result.returncode:
            raise Unavailable(f"Debian {suite} cannot be fetched: {result.stderr.strip()[-300:]}")
    return [os.path.join(work, name) for name in os.listdir(work) if name.endswith(".deb")]


def _give_libraries(program, folder):
    """Has `program` use the C library and the others in `folder`, since the release's are newer than
    this machine's. It is changed for that: runc starts itself by /proc/self/exe, so a loader named on
    the command line would be started in its place."""
    subprocess.run([paths.tool("patchelf"), "--force-rpath", "--set-rpath", folder,
                    "--set-interpreter", f"{folder}/ld-linux-x86-64.so.2", program], check=True)
