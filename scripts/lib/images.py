"""OCI images made on the spot from Debian's binaries; no registry is asked.

An Image is a list of what to put in: busybox and its applets are always there, then programs with
the shared libraries that ldd names for them, Debian packages unpacked (never installed, so that no
daemon starts on this machine), and literal files. `Image.archive()` gives the path of an OCI layout
tar that `ctr image import` takes, built once for a given content and kept in the cache.
"""

import dataclasses
import functools
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import tempfile

from . import paths

_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")


@dataclasses.dataclass(frozen=True)
class Image:
    """What an image holds. `name` is used as `shunt.test/NAME:1`."""

    name: str
    cmd: tuple = ("/bin/sh",)
    entrypoint: tuple = ()
    programs: tuple = ()  # names or absolute paths, looked up in `packages`, then on this machine
    packages: tuple = ()  # Debian packages to fetch and unpack, for `programs` and `trees`
    trees: tuple = ()  # paths copied whole from the unpacked packages or this machine
    files: tuple = ()  # (path, mode, bytes or str)
    links: tuple = ()  # (path, target)
    env: tuple = ()
    user: str = ""
    workdir: str = ""

    @property
    def reference(self):
        return f"shunt.test/{self.name}:1"

    def archive(self):
        """Path of the OCI layout archive; built if the cache does not hold it."""
        return ARCHIVES[self.name] if self.name in ARCHIVES else self._archive()

    @functools.cache
    def _archive(self):
        unpacked = unpack(self.packages)
        entries = self._entries(unpacked)
        key = hashlib.sha256(repr((3, dataclasses.astuple(self))).encode())
        for path in sorted(entries):
            kind, mode, value = entries[path]
            if kind == "copy":  # a source is identified by where it is, its size and its time
                info = os.stat(value)
                value = (value, info.st_size, info.st_mtime_ns)
            key.update(repr((path, kind, mode, value)).encode())
        target = os.path.join(
            paths.cache_dir("images"), f"{self.name}-{key.hexdigest()[:24]}.tar"
        )
        if not os.path.exists(target):
            with tempfile.NamedTemporaryFile(dir=os.path.dirname(target), delete=False) as out:
                self._write(entries, out)
            os.rename(out.name, target)
        return target

    def _entries(self, unpacked):
        """{path: (kind, mode, value)} with kind dir, copy (from a host path), data or link."""
        entries = {}

        def directory(path):
            while path and path not in entries:
                entries[path] = ("dir", 0o1777 if path == "tmp" else 0o755, None)
                path = os.path.dirname(path)

        def add(path, kind, mode, value):
            path = path.lstrip("/")
            directory(os.path.dirname(path))
            entries[path] = (kind, mode, value)

        def copy(source, path):
            add(path, "copy", os.stat(source).st_mode & 0o7777, os.path.realpath(source))

        for path in ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "var"):
            directory(path)
        busybox = paths.tool("busybox")
        if _libraries([busybox], unpacked):
            raise RuntimeError("busybox is not static; run scripts/deps (busybox-static)")
        copy(busybox, "/bin/busybox")
        applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
        for applet in sorted(set(applets.stdout.split()) - {"busybox"}):
            add(f"/bin/{applet}", "link", 0o777, "busybox")
        add("/etc/passwd", "data", 0o644, _PASSWD)
        add("/etc/group", "data", 0o644, _GROUP)
        add("/etc/nsswitch.conf", "data", 0o644, b"passwd: files\ngroup: files\nhosts: files dns\n")
        linked = []  # what the loader will have to find libraries for
        for tree in self.trees:
            for source in _trees(tree, unpacked):
                for folder, _, names in os.walk(source):
                    inside = tree + folder[len(source) :]
                    directory(inside.strip("/"))
                    for name in names:
                        path = _followed(os.path.join(folder, name), unpacked)
                        if not path:
                            continue
                        copy(path, os.path.join(inside, name))
                        if ".so" in name:
                            linked.append(path)
        for program in self.programs:
            source = _find(program, unpacked)
            copy(source, program if program.startswith("/") else f"/usr/bin/{program}")
            linked.append(source)
        # Programs find libraries of their own trees by themselves.
        own = {os.path.basename(path) for path in entries}
        for library in _libraries(linked, unpacked, own):
            inside = library
            for folder in unpacked:
                if library.startswith(folder + "/"):
                    inside = library[len(folder) :]
            copy(library, inside)
        for path, mode, data in self.files:
            add(path, "data", mode, data.encode() if isinstance(data, str) else data)
        for path, target in self.links:
            add(path, "link", 0o777, target)
        return entries

    def _write(self, entries, out):
        with tempfile.TemporaryFile() as layer:
            with tarfile.open(fileobj=layer, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for path in sorted(entries):
                    _add(tar, path, *entries[path])
            layer.seek(0)
            layer_digest = hashlib.file_digest(layer, "sha256").hexdigest()
            layer_size = layer.tell()
            layer.seek(0)
            config = {
                "architecture": "amd64",
                "os": "linux",
                "config": {
                    "Cmd": list(self.cmd),
                    "Entrypoint": list(self.entrypoint) or None,
                    "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", *self.env],
                    "User": self.user,
                    "WorkingDir": self.workdir or "/",
                },
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
            }
            config_bytes = json.dumps(config).encode()
            manifest = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": _blob("application/vnd.oci.image.config.v1+json", config_bytes),
                "layers": [
                    {
                        "mediaType": "application/vnd.oci.image.layer.v1.tar",
                        "digest": f"sha256:{layer_digest}",
                        "size": layer_size,
                    }
                ],
            }
            manifest_bytes = json.dumps(manifest).encode()
            descriptor = _blob("application/vnd.oci.image.manifest.v1+json", manifest_bytes)
            descriptor["annotations"] = {"io.containerd.image.name": self.reference}
            descriptor["platform"] = {"architecture": "amd64", "os": "linux"}
            index = {"schemaVersion": 2, "manifests": [descriptor]}
            with tarfile.open(fileobj=out, mode="w") as tar:
                _add(tar, "oci-layout", "data", 0o644, b'{"imageLayoutVersion": "1.0.0"}')
                _add(tar, "index.json", "data", 0o644, json.dumps(index).encode())
                for blob in (config_bytes, manifest_bytes):
                    name = f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}"
                    _add(tar, name, "data", 0o644, blob)
                info = tarfile.TarInfo(f"blobs/sha256/{layer_digest}")
                info.size = layer_size
                tar.addfile(info, layer)


_PASSWD = b"""root:x:0:0:root:/root:/bin/sh
user:x:1000:1000:user:/tmp:/bin/sh
nobody:x:65534:65534::/:/bin/false
"""
_GROUP = b"root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"


def _blob(media_type, data):
    digest = hashlib.sha256(data).hexdigest()
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _add(tar, path, kind, mode, value):
    info = tarfile.TarInfo(path)
    info.mode = mode
    if kind == "dir":
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif kind == "link":
        info.type = tarfile.SYMTYPE
        info.linkname = value
        tar.addfile(info)
    elif kind == "copy":
        info.size = os.path.getsize(value)
        with open(value, "rb") as source:
            tar.addfile(info, source)
    else:
        info.size = len(value)
        tar.addfile(info, io.BytesIO(value))


def _find(name, unpacked):
    """A program by name or a path, in the unpacked packages first."""
    candidates = [name] if name.startswith("/") else [
        f"{folder}/{name}" for folder in ("/usr/bin", "/usr/sbin", "/bin", "/sbin")
    ]
    for base in (*unpacked, ""):
        for candidate in candidates:
            if os.path.exists(base + candidate):
                return base + candidate
    raise FileNotFoundError(f"{name}: neither in the image's packages nor installed")


def _trees(path, unpacked):
    """Where a directory is to be copied from: every package that has a part of it, or the machine."""
    found = [base + path for base in unpacked if os.path.isdir(base + path)]
    return found or [_find(path, ())]


def _followed(path, unpacked):
    """The file that a path means inside the image; None for a link to what is not there. Links from
    one package to another are absolute, so they are looked up in the unpacked ones first."""
    target = os.readlink(path) if os.path.islink(path) else ""
    if target.startswith("/"):
        path = next((base + target for base in unpacked if os.path.exists(base + target)), target)
    return path if os.path.isfile(path) else None


def _libraries(programs, unpacked, own=()):
    """Absolute paths of the shared libraries and the loader that the programs need, but for those
    whose names are in `own`."""
    if not programs:
        return []
    folders = [
        base + folder
        for base in unpacked
        for folder in ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu")
    ]
    result = subprocess.run(
        ["/usr/bin/ldd", *programs],
        env={"PATH": paths.SYSTEM_PATH, "LD_LIBRARY_PATH": ":".join(folders)},
        capture_output=True,
        text=True,
    )
    missing = {line.split()[0] for line in result.stdout.splitlines() if "not found" in line}
    if missing - set(own):
        raise RuntimeError(f"{programs[0]} and others lack {', '.join(missing - set(own))}")
    return sorted(set(_LIBRARY.findall(result.stdout)))


def _apt_state():
    """Changes with what apt's sources are and offer."""
    key = hashlib.sha256()
    for top in ("/etc/apt", "/var/lib/apt/lists"):
        for folder, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                info = os.stat(path)
                key.update(repr((path, info.st_size, info.st_mtime_ns)).encode())
    return key.hexdigest()[:24]


def _versions(packages):
    """{package: the newest version that a source offers}; the installed one may come from somewhere
    else. Kept, since apt may read all of its lists, for seconds, whatever it is asked."""
    if not packages:
        return {}
    file = os.path.join(paths.cache_dir("packages"), f"versions-{_apt_state()}.json")
    known = {}
    if os.path.exists(file):
        with open(file, encoding="utf-8") as kept:
            known = json.load(kept)
    missing = [package for package in packages if package not in known]
    if missing:
        offers = subprocess.run(["/usr/bin/apt-cache", "madison", *missing], capture_output=True,
                                text=True, check=True)
        for line in offers.stdout.splitlines():
            package, version = (word.strip() for word in line.split("|")[:2])
            known.setdefault(package, version)
        for package in missing:
            if package not in known:
                raise RuntimeError(f"no source of apt has the package {package}")
        with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(file), delete=False,
                                         encoding="utf-8") as new:
            json.dump(known, new)
        os.rename(new.name, file)
    return {package: known[package] for package in packages}


def unpack(packages):
    """Directories with the unpacked packages, fetched with apt-get on first use."""
    versions = _versions(packages)
    folders = []
    for package in packages:
        version = versions[package]
        folder = os.path.join(paths.cache_dir("packages"), f"{package}_{version.replace(':', '%')}")
        if not os.path.isdir(folder):
            with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as work:
                os.chmod(work, 0o755)  # apt's own user must be able to enter
                subprocess.run(
                    ["/usr/bin/apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download",
                     f"{package}={version}"],
                    cwd=work,
                    check=True,
                )
                deb = next(name for name in os.listdir(work) if name.endswith(".deb"))
                tree = os.path.join(work, "tree")
                deb = os.path.join(work, deb)
                subprocess.run(["/usr/bin/dpkg-deb", "-x", deb, tree], check=True)
                os.rename(tree, folder)
        folders.append(folder)
    return folders


# {name: archive} built elsewhere, for where it takes long to find out what belongs into an image.
ARCHIVES = {}

IMAGES = {
    image.name: image
    for image in (
        Image("busybox"),
        # The sandbox container of every CRI pod: it only has to exist.
        Image("pause", cmd=("/bin/sleep", "infinity")),
        Image("sockperf", packages=("sockperf",), programs=("sockperf",)),
        Image("iperf3", programs=("iperf3",), cmd=("iperf3", "-s")),
        Image(
            "python",
            packages=("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"),
            programs=("python3.11",),
            trees=("/usr/lib/python3.11",),
            links=(("/usr/bin/python3", "python3.11"),),
            cmd=("python3",),
        ),
        # Debian's redis-server is a second name of redis-check-rdb, from redis-tools.
        Image(
            "redis",
            packages=("redis-tools", "liblzf1", "libjemalloc2", "liblua5.1-0", "libatomic1",
                      "lua-cjson", "lua-bitop", "libhiredis0.14"),
            programs=("redis-check-rdb", "redis-benchmark", "redis-cli"),
            links=(("/usr/bin/redis-server", "redis-check-rdb"),),
            cmd=("redis-server", "--save", "", "--protected-mode", "no", "--daemonize", "no"),
        ),
    )
}
