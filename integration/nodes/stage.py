"""Two nodes, network namespaces, and a supervised program in a pod of each: the stage of nodes_test.py and
node_faults_test.py."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / 'guests'), str(HERE.parent)]
import guests_across_nodes as across  # noqa: E402
import side_by_side  # noqa: E402

LAUNCHER = pathlib.Path(os.environ.get('SHUNT_BUILD', HERE.parents[1] / 'build/dev')) / 'sandbox/shunt-launch'


class Half:
    """A supervised half of a conversation, line by line."""

    def __init__(self, nodes, index, *arguments, fabric='host', options=()):
        self.lines, self.errors = [], []
        self.process = subprocess.Popen(
            ['nsenter', f'--net=/run/netns/{nodes.nodes[index]}', str(LAUNCHER), '--fabrics', fabric, '--window',
             f'{nodes.state}/window', '--state', f'{nodes.state}/{index}', '--pod', nodes.pods[index], '--netns',
             nodes.pods[index], '--stats', *options, '--', '/usr/bin/python3', str(HERE / 'talk.py'), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.changed = threading.Condition()
        self.threads = [threading.Thread(target=self.collect, args=(stream, lines), daemon=True)
                        for stream, lines in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))]
        for thread in self.threads:
            thread.start()
        self.read = 0

    def collect(self, stream, lines):
        for line in stream:
            with self.changed:
                lines.append(line.rstrip('\n'))
                self.changed.notify_all()

    def line(self, seconds=15):
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.lines) > self.read, seconds):
                raise AssertionError(f'no line within {seconds} s; stderr: {self.errors[-5:]}')
            self.read += 1
            return self.lines[self.read - 1]

    def tell(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()

    def answer(self, seconds=15):
        """(what the program says, the seconds it took)"""
        what, seconds_taken = self.line(seconds).rsplit(' ', 1)
        return what, float(seconds_taken)

    def ask(self, line, seconds=15):
        self.tell(line)
        return self.answer(seconds)

    def await_log(self, text, seconds=15):
        """Until the shim has written this; it does with --debug only."""
        with self.changed:
            if not self.changed.wait_for(lambda: any(text in line for line in self.errors), seconds):
                raise AssertionError(f'no {text!r} within {seconds} s; stderr: {self.errors[-5:]}')

    def stop(self):
        self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join(5)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()

    def end(self):
        """How connections went: {path: count}."""
        self.process.stdin.close()
        self.process.wait(15)
        for thread in self.threads:
            thread.join(5)
        return {words[1]: int(words[2]) for words in map(str.split, self.errors) if words[:1] == ['path']}


class TwoNodes(unittest.TestCase):
    """Two nodes with a pod each, made anew for each test."""

    def setUp(self):
        self.nodes = [f'faults-{os.getpid()}-node{i}' for i in range(2)]
        self.pods = [f'faults-{os.getpid()}-pod{i}' for i in range(2)]
        self.addCleanup(lambda: [subprocess.run(['ip', 'netns', 'del', name], check=False, stderr=subprocess.DEVNULL)
                                 for name in (*self.pods, *self.nodes)])
        across.make(self.nodes, self.pods)
        directory = tempfile.TemporaryDirectory(prefix='shunt-nodes-')
        self.addCleanup(directory.cleanup)
        self.state = directory.name
        os.mkdir(f'{self.state}/window')

    def half(self, *arguments, **options):
        half = Half(self, *arguments, **options)
        self.addCleanup(half.stop)
        return half

    def pair(self, server_options=(), client_options=(), fabric='host'):
        server = self.half(1, 'server', '7000', options=server_options, fabric=fabric)
        self.assertEqual(server.line(), 'ready')
        client = self.half(0, 'client', across.PODS[1], '7000', options=client_options, fabric=fabric)
        self.assertEqual(client.line(), 'ready')
        return server, client

    def in_node(self, index, *command):
        subprocess.run(['ip', 'netns', 'exec', self.nodes[index], *command], check=True)


def main(at_once=1):
    """Runs the program's tests, so many `at_once` unless some are named: tests that wait most of their time."""
    if os.geteuid() != 0:
        print('needs root: network namespaces')
        sys.exit(77)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if at_once > 1 and len(sys.argv) == 1:
        sys.exit(side_by_side.run(side_by_side.names(), at_once))
    unittest.main()
