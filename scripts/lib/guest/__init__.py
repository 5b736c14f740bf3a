"""Guests: machines of their own in QEMU, with Debian's kernel and Soft-RoCE.

    with Guests(2) as (one, two):
        server = one.start("ib_write_bw", "-d", "rxe0")
        print(two.run("ib_write_bw", "-d", "rxe0", one.address).stdout)

A guest sees this machine's files at their places, so every installed program, this source tree and
its build are there; what it writes stays in its memory and ends with it. It has RDMA device rxe0 on
eth0 (two guests are joined by it; a single one has two addresses, hence two GIDs), a cgroup v2
hierarchy, and the kernel's modules. There is no KVM: emulated, everything takes ten times as long.
"""

from .guests import Failed, GuestError, Guests

__all__ = ["Failed", "GuestError", "Guests"]
