#!/usr/bin/python3
"""Runs the guests with the server in one pod and the client in another, without containerd.

  guests_in_pods.py LAUNCHER DIRECTORY PAIR [RUN_GUESTS_OPTION ...]

Two network namespaces joined by a veth pair are the pods; LAUNCHER (shunt-launch) supervises each
half, with upgrade.pair PAIR. What they print is compared with a native run (see run_guests.py).
Needs root; exits with 77 without.
"""

import os
import subprocess
import sys
import tempfile

SERVER, CLIENT = '198.18.71.1', '198.18.71.2'


def ip(*arguments):
    subprocess.run(['ip', *arguments], check=True)


def main():
    if os.geteuid() != 0:
        print('needs root: network namespaces')
        return 77
    launcher, directory, pair, *options = sys.argv[1:]
    names = [f'guests-{os.getpid()}-{half}' for half in 'sc']
    links = [f'g{os.getpid()}{half}' for half in 'sc']
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        for name in names:
            ip('netns', 'add', name)
        ip('link', 'add', links[0], 'netns', names[0], 'type', 'veth', 'peer', 'name', links[1],
           'netns', names[1])
        for name, link, address in zip(names, links, (SERVER, CLIENT)):
            ip('-n', name, 'addr', 'add', address + '/24', 'dev', link)
            ip('-n', name, 'link', 'set', 'lo', 'up')
            ip('-n', name, 'link', 'set', link, 'up')
        with tempfile.TemporaryDirectory(prefix='guests-in-pods-') as state:
            halves = [f'{launcher} --pair {pair} --state {state} --pod {name} --netns {name} --'
                      for name in names]
            # One at a time: each launcher is a supervisor, and a pod has one.
            done = subprocess.run(
                [os.path.join(here, 'run_guests.py'), directory, '--jobs', '1', '--server-under',
                 halves[0], '--client-under', halves[1], '--address', SERVER, *options],
                check=False)
        return done.returncode
    finally:
        for name in names:
            subprocess.run(['ip', 'netns', 'del', name], check=False, stderr=subprocess.DEVNULL)


if __name__ == '__main__':
    sys.exit(main())
