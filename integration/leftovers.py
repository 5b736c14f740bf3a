"""What connections could leave behind on a node: in the private network namespace of its supervisors,
in the node table, in the shims themselves."""

import os
import struct
import subprocess

from lib import paths, proc
from lib.pair import inspected

# netstack/local/node_table.cc
_MAGIC = 0x34646F6E746E7568
_HEADER, _SLOT = struct.Struct("<QQ"), struct.Struct("<IiQQiiI128s")
_SLOT_SIZE, _LINES_AT, _LINES, _FIRST = 576, 448, 16, 64


def figures(shim):
    """What must not grow in a shim, however many connections there were. What it keeps of the threads
    that called last (their pidfds, their /proc) comes and goes; it is a bounded number."""
    of_threads, others = 0, 0
    for target in proc.descriptors(shim).values():
        if "[pidfd]" in target or target.startswith("/proc/"):
            of_threads += 1
        else:
            others += 1
    return {"descriptors": others, "of threads": of_threads, "threads": proc.threads(shim),
            "anonymous KiB": proc.memory(shim)["anonymous"]}


def made_ahead(node, pod):
    """Connections between nodes that a shim keeps for streams to come, a bounded number that follows
    the use: descriptors that are no connection's."""
    shown, = inspected(node, pod.id)
    links = [fabric["link"]["counters"] for peer in shown["across_nodes"].get("peers", ())
             for fabric in peer["fabrics"] if "link" in fabric]
    return sum(link.get(kind, 0) for link in links for kind in ("ready", "dialling", "arrived"))


def open_lines(node):
    """[(pod, line, value)] of the node table's undecided connections."""
    with open(os.path.join(node.dir, "shunt", "node"), "rb") as file:
        data = file.read()
    magic, _ = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise RuntimeError(f"the node table has another layout ({magic:#x}): change {__file__}")
    found = []
    for at in range(_FIRST, len(data) - _SLOT_SIZE + 1, _SLOT_SIZE):
        slot = _SLOT.unpack_from(data, at)
        if slot[0]:
            lines = struct.unpack_from(f"<{_LINES}Q", data, at + _LINES_AT)
            found += [(slot[-1].rstrip(b"\0").decode(), number, value)
                      for number, value in enumerate(lines) if value % 2]
    return found


def _private_namespace(shim):
    """Path of the namespace that only supervisors are in, among a shim's descriptors."""
    for number, target in proc.descriptors(shim).items():
        if not target.startswith("net:["):
            continue
        path = f"/proc/{shim}/fd/{number}"
        listing = _run(path, "ip", "-br", "link")
        if len(listing.splitlines()) == 1:  # pods have more than a loopback
            return path
    raise RuntimeError("the shim holds no private namespace")


def _run(namespace, *argv):
    return subprocess.run([paths.tool("nsenter"), f"--net={namespace}", "--", *argv], text=True,
                          capture_output=True, check=True, timeout=30).stdout


def in_private_namespace(shim):
    """{"connections": [...], "offers": [...]}: living fast sockets, and offers in mailboxes that
    nobody has taken, as `ss` shows them."""
    namespace = _private_namespace(shim)
    found = {"connections": [], "offers": []}
    for line in _run(namespace, "ss", "-Hxta").splitlines():
        kind, state, waiting = line.split()[:3]
        if kind not in ("u_str", "tcp"):
            continue
        if state == "LISTEN":
            found["offers"] += [line] if int(waiting) else []
        elif state in ("ESTAB", "CLOSE-WAIT", "FIN-WAIT-1", "FIN-WAIT-2"):
            found["connections"].append(line)
    return found
