#!/usr/bin/python3
"""Compares ways between two pods in seconds, without containerd: for the inner loop of making one
of them faster. What counts in the end is `scripts/bench same_node`.

  compare.py [--shunt NAME=LAUNCHER ...] [--rounds N] [--seconds S] [--all-cpus] [--across]
             WHAT [WHAT ...]

WHAT is connect, echo:BYTES or stream:BYTES of scripts/benchlib/load.c. Two network namespaces
joined by a bridge in a third one are the pods. Variants, by turns:

  bridge            kernel TCP, nothing supervised
  NAME              both ends under LAUNCHER (shunt-launch of some build), upgraded
  NAME:tcp          the same with pairs of kind tcp
  NAME:kernel       both ends under LAUNCHER with state directories apart: never upgraded
  unix              a raw AF_UNIX socket between the pods

With --across the pods are on two nodes, each with a bridge, joined by VXLAN:

  vxlan             kernel TCP, nothing supervised
  NAME:host         both ends under LAUNCHER, with the fabric host
  NAME:window       the same with the fabric window
  NAME:kernel       the same with no fabric

Prints the median of each with least and most, and the median ratio to bridge (or vxlan) and to unix; first
by the clock, then by the CPU time of pods and launchers (from their control group), which says
something on a busy machine, too. All of it runs on one CPU (unless --all-cpus), with SCHED_IDLE
spinners on both. Needs root.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../../scripts'))

from benchlib import load  # noqa: E402
from benchlib.spinners import Spinners  # noqa: E402

NET = '198.18.72'
UNDER = '198.18.73'  # between two nodes
CPUACCT = '/sys/fs/cgroup/cpuacct'


def ip(*arguments):
    subprocess.run(['ip', *arguments], check=True)


@contextlib.contextmanager
def pods(count):
    """`count` network namespaces on a bridge, .1, .2 and so on."""
    base = f'cmp{os.getpid()}'
    names = [f'{base}-{i}' for i in range(count)]
    node = f'{base}-node'
    try:
        for name in (node, *names):
            ip('netns', 'add', name)
            ip('-n', name, 'link', 'set', 'lo', 'up')
        ip('-n', node, 'link', 'add', 'br0', 'type', 'bridge')
        ip('-n', node, 'link', 'set', 'br0', 'up')
        for i, name in enumerate(names):
            ip('link', 'add', f'v{i}', 'netns', node, 'type', 'veth', 'peer', 'name', 'eth0',
               'netns', name)
            ip('-n', node, 'link', 'set', f'v{i}', 'master', 'br0', 'up')
            ip('-n', name, 'addr', 'add', f'{NET}.{i + 1}/24', 'dev', 'eth0')
            ip('-n', name, 'link', 'set', 'eth0', 'up')
        yield [node, node], names
    finally:
        for name in (*names, node):
            subprocess.run(['ip', 'netns', 'del', name], check=False)


@contextlib.contextmanager
def pods_of_two_nodes(count):
    """The same, in turns on one of two nodes; their bridges are joined by VXLAN."""
    base = f'cmp{os.getpid()}'
    names = [f'{base}-{i}' for i in range(count)]
    nodes = [f'{base}-node{i}' for i in range(2)]
    try:
        for name in (*nodes, *names):
            ip('netns', 'add', name)
            ip('-n', name, 'link', 'set', 'lo', 'up')
        ip('link', 'add', 'up0', 'netns', nodes[0], 'type', 'veth', 'peer', 'name', 'up0',
           'netns', nodes[1])
        for i, node in enumerate(nodes):
            own, other = (f'{UNDER}.{1 + (i + step) % 2}' for step in (0, 1))
            ip('-n', node, 'addr', 'add', f'{own}/24', 'dev', 'up0')
            ip('-n', node, 'link', 'set', 'up0', 'up')
            ip('-n', node, 'link', 'add', 'br0', 'type', 'bridge')
            ip('-n', node, 'link', 'add', 'vxlan0', 'mtu', '1450', 'type', 'vxlan', 'id', '1',
               'local', own, 'remote', other, 'dstport', '8472', 'dev', 'up0')
            ip('-n', node, 'link', 'set', 'vxlan0', 'master', 'br0', 'up')
            ip('-n', node, 'link', 'set', 'br0', 'up')
        for i, name in enumerate(names):
            node = nodes[i % 2]
            ip('link', 'add', f'v{i}', 'netns', node, 'type', 'veth', 'peer', 'name', 'eth0',
               'netns', name)
            ip('-n', node, 'link', 'set', f'v{i}', 'master', 'br0', 'up')
            ip('-n', name, 'addr', 'add', f'{NET}.{i + 1}/24', 'dev', 'eth0')
            ip('-n', name, 'link', 'set', 'eth0', 'mtu', '1450', 'up')
        yield nodes, names
    finally:
        for name in (*names, *nodes):
            subprocess.run(['ip', 'netns', 'del', name], check=False)


class Variant:
    """Two ends and how they are started. The pods' shims are the launchers."""

    def __init__(self, name, nodes, netns, states, launcher, extra, folder, cpus):
        self.name = name
        self.group = f'{CPUACCT}/cmp{os.getpid()}-{name.replace(":", "-")}'
        os.mkdir(self.group)
        self.pin = ['sh', '-c', f'echo $$ >{self.group}/cgroup.procs; exec "$@"', 'sh',
                    'taskset', '-c', ','.join(map(str, cpus))]
        self.limit = name == 'unix'
        self.folder = os.path.join(folder, name.replace(':', '-'))
        os.mkdir(self.folder)
        self.under = []
        for node, net, state in zip(nodes, netns, states):
            enter = ['nsenter', f'--net=/run/netns/{node}']
            self.under.append(enter + [launcher, *extra, '--state', f'{self.folder}/{state}',
                                       '--pod', net, '--netns', net, '--'] if launcher else
                              ['nsenter', f'--net=/run/netns/{net}'])
        self.server = None
        self.address = ''

    def serve(self, server_address):
        """Both servers in one pod."""
        self.address = server_address
        serve, answer = (f'{self.folder}/{what}' if self.limit else f'{server_address}:{port}'
                         for what, port in (('serve', 7000), ('answer', 7001)))
        script = f'{load.program()} serve {serve} & exec {load.program()} answer {answer}'
        self.server = subprocess.Popen(self.pin + self.under[0] + ['sh', '-c', script],
                                       start_new_session=True)

    def ready(self, net):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.limit:
                if all(os.path.exists(f'{self.folder}/{what}') for what in ('serve', 'answer')):
                    return
            else:
                listening = subprocess.run(['ip', 'netns', 'exec', net, 'ss', '-Hltn'], check=True,
                                           capture_output=True, text=True).stdout
                if ':7000' in listening and ':7001' in listening:
                    return
            time.sleep(0.02)
        raise RuntimeError(f'{self.name}: servers not ready')

    def measure(self, what, seconds):
        kind, _, size = what.partition(':')
        server = 'answer' if kind == 'connect' else 'serve'
        where = (f'{self.folder}/{server}' if self.limit else
                 f'{self.address}:{7001 if kind == "connect" else 7000}')
        arguments = [kind, where] + ([size] if size else []) + [str(seconds)]
        gate = f'{self.folder}/gate'
        if not os.path.exists(gate):
            os.mkfifo(gate)
        with subprocess.Popen(self.pin + self.under[1] + [load.program(), *arguments],
                              stdout=subprocess.PIPE, text=True,
                              env={**os.environ, 'GATE': gate}) as client:
            with open(gate, 'wb') as opened:  # once the client is there
                before = self.cpu_time()
                opened.write(b'x')
            result = json.loads(client.stdout.readline())
            spent = self.cpu_time() - before
        if kind == 'stream':
            return result['bytes'] / result['seconds'] / 1e9, spent / result['bytes'] * 1e9
        return (1e6 * result['seconds'] / result['operations'],
                1e6 * spent / result['operations'])

    def cpu_time(self):
        with open(f'{self.group}/cpuacct.usage', encoding='ascii') as usage:
            return int(usage.read()) / 1e9

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()
        with contextlib.suppress(OSError):
            os.rmdir(self.group)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', nargs='+')
    parser.add_argument('--shunt', action='append', default=[], metavar='NAME=LAUNCHER')
    parser.add_argument('--variants', default='', help='only these, comma separated')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seconds', type=float, default=0.4)
    parser.add_argument('--all-cpus', action='store_true')
    parser.add_argument('--across', action='store_true')
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    if not options.all_cpus:
        cpus = cpus[:1]
    wanted = [('vxlan' if options.across else 'bridge', '', 'ss', ())]
    for text in options.shunt:
        name, _, launcher = text.partition('=')
        if options.across:
            wanted += [(f'{name}:host', launcher, 'sc', ('--fabrics', 'host')),
                       (f'{name}:window', launcher, 'sc', ('--fabrics', 'window', '--window')),
                       (f'{name}:kernel', launcher, 'sc', ())]
        else:
            wanted += [(name, launcher, 'ss', ()), (f'{name}:tcp', launcher, 'ss', ('--pair', 'tcp')),
                       (f'{name}:kernel', launcher, 'sc', ())]
    if not options.across:
        wanted.append(('unix', '', 'ss', ()))
    if options.variants:
        wanted = [each for each in wanted if each[0] in options.variants.split(',')]

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='shunt-compare-'))
        make = pods_of_two_nodes if options.across else pods
        nodes, nets = stack.enter_context(make(2 * len(wanted)))
        stack.enter_context(Spinners())
        variants = []
        for i, (name, launcher, states, extra) in enumerate(wanted):
            own = nets[2 * i:2 * i + 2]
            if extra[-1:] == ('--window',):
                os.makedirs(f'{folder}/shared', mode=0o700, exist_ok=True)
                extra = (*extra, f'{folder}/shared')
            variant = Variant(name, nodes, own, states, launcher, extra, folder, cpus)
            variants.append(variant)
            stack.callback(variant.end)
            variant.serve(f'{NET}.{2 * i + 1}')
            variant.ready(own[0])
        for what in options.what:
            found = {variant.name: [] for variant in variants}
            for turn in range(options.rounds + 1):
                for variant in variants:
                    value = variant.measure(what, options.seconds)
                    if turn:  # the first one warms up
                        found[variant.name].append(value)
            stream = what.startswith('stream')
            show(f'{what}, {"GB/s" if stream else "µs"}', found, 0)
            show(f'{what}, CPU {"s/GB" if stream else "µs"}', found, 1)


def show(title, found, which):
    print(f'\n{title}')
    columns = {name: [value[which] for value in values] for name, values in found.items()}
    for name, values in columns.items():
        line = (f'  {name:24} {statistics.median(values):9.2f} '
                f'[{min(values):.2f}, {max(values):.2f}]')
        for other in ('bridge', 'vxlan', 'unix'):
            if other in columns and other != name:
                ratio = statistics.median(a / b for a, b in zip(values, columns[other]))
                line += f'   {ratio:.2f} x {other}'
        print(line, flush=True)


if __name__ == '__main__':
    sys.exit(main())
