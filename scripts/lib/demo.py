#!/usr/bin/python3
"""The demonstration behind scripts/demo."""

import os
import sys
import textwrap
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from lib import RUNC, SHUNT, Node, Skip, demo_rdma, demo_same_node, demo_two_nodes, paths, proc  # noqa: E402

BOLD, DIM, END = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def title(text):
    print(f"\n{BOLD}{text}{END}", flush=True)


def command(text, output):
    print(f"{DIM}  $ {text}{END}")
    print(textwrap.indent(output.rstrip("\n"), "    "), flush=True)


def run_both(node):
    title("One container under each runtime")
    for runtime in (RUNC, SHUNT):
        script = "echo hello from $(hostname), pid $$; exit 3"
        begin = time.monotonic()
        result = node.run("hello", "sh", "-c", script, runtime=runtime, check=False)
        took = (time.monotonic() - begin) * 1000
        command(f"ctr run --rm --runtime {runtime} busybox hello sh -c '...; exit 3'",
                f"{result.stdout.strip()}\nexit status {result.returncode}, {took:.0f} ms")


def shim_cost(node, handler, runtime):
    """The figures of the shim of a pod with two containers."""
    pod = node.cri.run_pod("demo", handler=handler)
    try:
        for name in ("one", "two"):
            node.cri.run_container(pod, name, "sleep", "infinity")
        shim, = node.shims(runtime)
        return {**proc.memory(shim), "threads": proc.threads(shim)}
    finally:
        node.cri.remove_pod(pod)


def one_node():
    title("A containerd of its own")
    begin = time.monotonic()
    with Node() as node:
        node.image("busybox")
        command(f"containerd --config {node.dir}/config.toml",
                f"ready after {time.monotonic() - begin:.1f} s, socket {node.address}")
        run_both(node)
        demo_same_node.demonstrate(node, title, command)
        title("What the shim of a pod with two containers costs")
        print(f"    {'':18}{'resident':>12}{'anonymous':>12}{'threads':>10}")
        for name, handler, runtime in (("containerd's runc", "runc", RUNC),
                                       ("Shunt", "shunt", SHUNT)):
            figures = shim_cost(node, handler, runtime)
            print(f"    {name:18}{figures['rss']:>8} KiB{figures['anonymous']:>8} KiB"
                  f"{figures['threads']:>10}", flush=True)
        left = [thing for things in node.traces().values() for thing in things]
        title("Afterwards")
        print(f"    left of containers and pods: {', '.join(left) or 'nothing'}")
    print(f"    the node is gone: {not os.path.exists(node.dir)}")


_WHAT = {
    (): one_node,
    ("--two-nodes",): lambda: demo_two_nodes.demonstrate(title, command),
    ("--rdma",): lambda: demo_rdma.demonstrate(title, command, paths.build_dir()),
}


def main(argv):
    if not os.path.exists(paths.shim_binary()):
        print(f"{paths.shim_binary()} is not built", file=sys.stderr)
        return 1
    try:
        _WHAT[tuple(argv)]()
    except Skip as reason:
        print(f"the demonstration {reason}", file=sys.stderr)
        return 77
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
