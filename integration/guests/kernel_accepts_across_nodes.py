#!/usr/bin/python3
"""A listener whose accepts are left to the kernel, and then a client of a Shunt pod of another node.

  kernel_accepts_across_nodes.py LAUNCHER FABRIC

Strangers, programs of the other node without a supervisor, connect one after the other until the server's
accepts run in the kernel. A supervised client then connects: what its shim offers is refused, it stays on TCP,
and nobody waits for anybody. Needs root; exits with 77 without.
"""

import os
import subprocess
import sys
import tempfile

from guests_across_nodes import PODS, make

PORT = 7599
LONGEST = 30  # seconds, for each step

SERVER = f'''
import socket
listener = socket.create_server(("{PODS[0]}", {PORT}))
print("ready", flush=True)
byte = b""
while byte != b"q":
    connection = listener.accept()[0]
    byte = connection.recv(1)
    connection.sendall(byte)
    connection.close()
'''
# Says "more" when enough have been served for the accepts to be left to the kernel (left_to_kernel.h).
CLIENT = f'''
import socket, sys
for i in range(int(sys.argv[1])):
    with socket.create_connection(("{PODS[0]}", {PORT}), timeout={LONGEST}) as connection:
        connection.sendall(sys.argv[2].encode())
        assert connection.recv(1) == sys.argv[2].encode()
    if i == 300:
        print("more", flush=True)
'''


def main():
    if os.geteuid() != 0:
        print('needs root: network namespaces')
        return 77
    launcher, fabric = sys.argv[1:]
    nodes = [f'accepts-{os.getpid()}-node{i}' for i in range(2)]
    pods = [f'accepts-{os.getpid()}-pod{i}' for i in range(2)]
    python = ['/usr/bin/python3', '-c']
    running = []
    try:
        make(nodes, pods)
        with tempfile.TemporaryDirectory(prefix='accepts-across-') as state:
            os.mkdir(f'{state}/window')

            def supervised(i):
                return ['nsenter', f'--net=/run/netns/{nodes[i]}', launcher, '--fabrics', fabric, '--window',
                        f'{state}/window', '--state', f'{state}/{i}', '--pod', pods[i], '--netns', pods[i],
                        '--stats', '--']

            def start(argv):
                running.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
                return running[-1]

            stranger = ['nsenter', f'--net=/run/netns/{pods[1]}', *python, CLIENT]
            server = start(supervised(0) + python + [SERVER])
            assert server.stdout.readline() == 'ready\n'
            strangers = start(stranger + ['1500', 'x'])
            assert strangers.stdout.readline() == 'more\n'
            client = start(supervised(1) + python + [CLIENT, '3', 'x'])
            said, _ = client.communicate(timeout=LONGEST)
            assert client.returncode == 0, said
            said, _ = strangers.communicate(timeout=LONGEST)
            assert strangers.returncode == 0, said
            subprocess.run(stranger + ['1', 'q'], check=True, timeout=LONGEST)
            said, _ = server.communicate(timeout=LONGEST)
            assert server.returncode == 0, said
            if 'path accepted-by-kernel' not in said:
                print('the machine is too busy: strangers did not come often enough')
                return 77
        return 0
    finally:
        for each in running:
            each.kill()
        for name in (*pods, *nodes):
            subprocess.run(['ip', 'netns', 'del', name], check=False, stderr=subprocess.DEVNULL)


if __name__ == '__main__':
    sys.exit(main())
