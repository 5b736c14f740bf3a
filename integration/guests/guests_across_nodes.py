#!/usr/bin/python3
"""Runs the guests with the server on one node and the client on another, without containerd.

  guests_across_nodes.py LAUNCHER DIRECTORY FABRIC [RUN_GUESTS_OPTION ...]

Two network namespaces joined by a veth pair are the nodes; each has a bridge with one pod, and a VXLAN
device joins the bridges. LAUNCHER (shunt-launch) supervises each half, with fabrics.enabled [FABRIC]. What
they print is compared with a native run (see run_guests.py). Needs root; exits with 77 without.

verbs needs a device, as in scripts/rdma-guest: both nodes use it, each by its address there.
"""

import os
import subprocess
import sys
import tempfile

NODES = ('192.0.2.1', '192.0.2.2')
PODS = ('198.18.72.1', '198.18.72.2')


def ip(*arguments):
    subprocess.run(['ip', *arguments], check=True)


def make(nodes, pods):
    """Underlay 192.0.2.0/24 between the nodes, overlay 198.18.72.0/24 between the pods."""
    for name in (*nodes, *pods):
        ip('netns', 'add', name)
        ip('-n', name, 'link', 'set', 'lo', 'up')
    ip('link', 'add', 'u0', 'netns', nodes[0], 'type', 'veth', 'peer', 'name', 'u0', 'netns', nodes[1])
    for i, (node, pod) in enumerate(zip(nodes, pods)):
        ip('-n', node, 'addr', 'add', NODES[i] + '/24', 'dev', 'u0')
        ip('-n', node, 'link', 'set', 'u0', 'up')
        ip('-n', node, 'link', 'add', 'br0', 'type', 'bridge')
        ip('-n', node, 'link', 'add', 'vx0', 'type', 'vxlan', 'id', '72', 'dstport', '4789', 'local', NODES[i],
           'remote', NODES[1 - i], 'dev', 'u0')
        ip('link', 'add', 'v0', 'netns', node, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod)
        for port in ('v0', 'vx0'):
            ip('-n', node, 'link', 'set', port, 'master', 'br0')
            ip('-n', node, 'link', 'set', port, 'up')
        ip('-n', node, 'link', 'set', 'br0', 'up')
        ip('-n', pod, 'addr', 'add', PODS[i] + '/24', 'dev', 'eth0')
        ip('-n', pod, 'link', 'set', 'eth0', 'mtu', '1450', 'up')


def main():
    if os.geteuid() != 0:
        print('needs root: network namespaces')
        return 77
    launcher, directory, fabric, *options = sys.argv[1:]
    nodes = [f'across-{os.getpid()}-node{i}' for i in range(2)]
    pods = [f'across-{os.getpid()}-pod{i}' for i in range(2)]
    here = os.path.dirname(os.path.abspath(__file__))
    patience = '--wait 5000 --silence 60000' if fabric == 'verbs' else ''  # an emulated machine is slow
    try:
        make(nodes, pods)
        with tempfile.TemporaryDirectory(prefix='guests-across-') as state:
            os.mkdir(f'{state}/window')
            halves = [f'nsenter --net=/run/netns/{node} {launcher} --fabrics {fabric} --window {state}/window '
                      f'--state {state}/{i} --pod {pod} --netns {pod} {patience} --'
                      for i, (node, pod) in enumerate(zip(nodes, pods))]
            # One at a time: each launcher is a supervisor, and a pod has one.
            done = subprocess.run(
                [os.path.join(here, 'run_guests.py'), directory, '--jobs', '1', '--server-under',
                 halves[0], '--client-under', halves[1], '--address', PODS[0], *options],
                check=False)
        return done.returncode
    finally:
        for name in (*pods, *nodes):
            subprocess.run(['ip', 'netns', 'del', name], check=False, stderr=subprocess.DEVNULL)


if __name__ == '__main__':
    sys.exit(main())
