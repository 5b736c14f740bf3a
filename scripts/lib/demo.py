#!/usr/bin/python3
"""The demonstration behind scripts/demo."""

import os
import sys
import textwrap
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from lib import RUNC, SHUNT, Node, Skip, paths, proc  # noqa: E402
from lib.node import wait_until  # noqa: E402

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


def show_pod(node, handler, runtime):
    """A pod with two containers; returns the shim's figures."""
    cri = node.cri
    pod = cri.run_pod("demo", handler=handler)
    try:
        web = cri.run_container(
            pod, "web", "sh", "-c",
            "mkdir /www; echo a page from $(hostname) > /www/index.html; echo serving;"
            " exec httpd -f -p 80 -h /www")
        client = cri.run_container(pod, "client", "sleep", "infinity")
        if runtime == SHUNT:
            command(f"RunPodSandbox demo (handler {handler}); containers: web, client",
                    f"pod address {cri.pod_address(pod)}")
            wait_until(web.log, "log of the web server")
            command("log of web", "\n".join(text for _, text in web.log()))
            get = ("wget", "-q", "-O-", "http://localhost/")
            page = wait_until(lambda: cri.exec(client, *get).stdout, "page")
            command("ExecSync client: wget -q -O- http://localhost/", page)
            command("processes of the node", tree(node))
        shim, = node.shims(runtime)
        return {**proc.memory(shim), "threads": proc.threads(shim)}
    finally:
        cri.remove_pod(pod)


def tree(node):
    """The processes below the node's keeper, as a tree."""
    children = {}
    for pid, parent in sorted(proc.parents().items()):
        children.setdefault(parent, []).append(pid)
    lines = []

    def walk(pid, depth):
        for child in children.get(pid, []):
            argv = proc.cmdline(child)
            if argv:
                name = [os.path.basename(argv[0]), *argv[1:]]
                lines.append(f"{'  ' * depth}{child} {' '.join(name)[:60]}")
            walk(child, depth + 1)

    walk(node.pid, 0)
    return "\n".join(lines)


def demonstrate():
    title("A containerd of its own")
    begin = time.monotonic()
    with Node() as node:
        node.image("busybox")
        command(f"containerd --config {node.dir}/config.toml",
                f"ready after {time.monotonic() - begin:.1f} s, socket {node.address}")
        run_both(node)
        title("A pod with two containers, by CRI as kubelet does it")
        shunt = show_pod(node, "shunt", SHUNT)
        title("What the pod's shim costs, and the same pod under runc's shim")
        runc = show_pod(node, "runc", RUNC)
        print(f"    {'':18}{'resident':>12}{'anonymous':>12}{'threads':>10}")
        for name, figures in (("containerd's runc", runc), ("Shunt", shunt)):
            print(f"    {name:18}{figures['rss']:>8} KiB{figures['anonymous']:>8} KiB"
                  f"{figures['threads']:>10}")
        left = [thing for things in node.traces().values() for thing in things]
        title("Afterwards")
        print(f"    left of containers and pods: {', '.join(left) or 'nothing'}")
    print(f"    the node is gone: {not os.path.exists(node.dir)}")


def main():
    if not os.path.exists(paths.shim_binary()):
        print(f"{paths.shim_binary()} is not built", file=sys.stderr)
        return 1
    try:
        demonstrate()
    except Skip as reason:
        print(f"the demonstration {reason}", file=sys.stderr)
        return 77
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
