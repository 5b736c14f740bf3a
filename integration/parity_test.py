#!/usr/bin/python3
"""Side by side with containerd's own shim on the same containerd: the same exit codes, output,
events and errors. Scenarios are in parity/."""


import harness
import parity


class Parity(harness.NodeTest):
    maxDiff = None


def _make(name):
    def test(self):
        reference = parity.play(name, self.node, harness.RUNC)
        ours = parity.play(name, self.node, harness.RUNTIME)
        problems = parity.compare(name, reference, ours, harness.RUNTIME)
        if problems:
            self.fail("\n".join(["differs from io.containerd.runc.v2", *problems]))
        self.assert_clean()

    test.__doc__ = None
    return test


for _name in parity.SCENARIOS:
    setattr(Parity, f"test_{_name}", _make(_name))

if __name__ == "__main__":
    harness.main()
