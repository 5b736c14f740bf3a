#!/usr/bin/python3
"""Side by side with containerd's own shim on the same containerd: the same exit codes, output,
events and errors. Scenarios are in parity/."""


import harness
import parity


class Parity(harness.NodeTest):
    maxDiff = None


def _make(name):
    def test(self):
        ours = parity.play(name, self.node, harness.RUNTIME)
        self.assert_clean()
        # Ours is played once and must stand. The reference loses output of short-lived programs now
        # and then (ctr gives up fifos that it has not quite opened when the task ends), so that what
        # it does is what it does in one of three plays.
        for _ in range(3):
            reference = parity.play(name, self.node, harness.RUNC)
            problems = parity.compare(name, reference, ours, harness.RUNTIME)
            if not problems:
                break
            print("\n".join(["    differs in this play:", *problems]))
        if problems:
            self.fail("\n".join(["differs from io.containerd.runc.v2", *problems]))
        # containerd's shim of 1.7 leaves its socket behind at times.
        for name_left in self.node.traces()["sockets"]:
            self.node.execute(["rm", f"/run/containerd/s/{name_left}"])
        self.assert_clean()

    test.__doc__ = None
    return test


for _name in parity.SCENARIOS:
    setattr(Parity, f"test_{_name}", _make(_name))

if __name__ == "__main__":
    harness.main()
