#!/usr/bin/python3
"""The shim keeps the capabilities that shim/README.md lists, and no others, in every thread."""

import os
import re

import harness
from harness import RUNTIME, SHUNT
from lib import paths, proc


def names():
    """{number: name} from the kernel's header."""
    with open("/usr/include/linux/capability.h", encoding="utf-8") as file:
        return {int(number): name for name, number in
                re.findall(r"^#define (CAP_[A-Z_]+)\s+(\d+)\s*$", file.read(), re.M)}


def decode(mask):
    known = names()
    return {known.get(bit, str(bit)) for bit in range(64) if int(mask, 16) >> bit & 1}


def documented():
    with open(os.path.join(paths.ROOT, "shim", "README.md"), encoding="utf-8") as file:
        section = re.search(r"^## Capabilities$(.*?)(?=^## )", file.read(), re.M | re.S).group(1)
    return set(re.findall(r"^\| `(CAP_[A-Z_]+)`", section, re.M))


class Capabilities(harness.NodeTest):
    def test_of_every_thread(self):
        if RUNTIME != SHUNT:
            self.skipTest("of Shunt's shim")
        self.addCleanup(self.assert_clean)
        self.addCleanup(self.node.remove, "c")
        self.node.start("c", "sleep", "1000")
        self.node.exec("c", "true")
        shim = self.node.shim_of("c")
        expected = documented()
        own = decode(proc.status("self")["CapPrm"])
        print(f"    documented: {' '.join(sorted(expected))}")
        self.assertTrue(expected)
        threads = os.listdir(f"/proc/{shim}/task")
        for thread in threads:
            status = proc.status(f"{shim}/task/{thread}")
            for kind in ("CapPrm", "CapEff"):
                self.assertEqual(expected & own, decode(status[kind]), f"{kind} of {thread}")
            for kind in ("CapInh", "CapAmb"):
                self.assertEqual(set(), decode(status[kind]), f"{kind} of {thread}")

    def test_containers_have_what_they_ask_for(self):
        for flags in ([], ["--privileged"], ["--cap-add", "CAP_NET_ADMIN"]):
            def read(runtime):
                return self.node.run("c", "grep", "^Cap", "/proc/self/status", runtime=runtime,
                                     flags=flags).stdout
            # containerd's own shim drops what it could not hand on within 2 s of the exit, which a
            # loaded machine shows; ours must not.
            expected = next(filter(None, (read(harness.RUNC) for _ in range(5))), "")
            self.assertEqual(expected, read(RUNTIME))


if __name__ == "__main__":
    harness.main()
