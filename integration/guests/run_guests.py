#!/usr/bin/python3
"""Runs the guest programs and compares what they print.

  run_guests.py DIRECTORY [NAME ...]
      Runs each guest of DIRECTORY natively, client and server together over loopback, twice. Both
      runs must end well, within a time, and print the same.

  run_guests.py DIRECTORY --under "COMMAND ..." [--differs FILE] [NAME ...]
      Runs each guest once natively and once as "COMMAND ... GUEST both", and compares. FILE names
      guests (one a line, a reason may follow) whose output is known to differ. One that does not
      differ any more is mentioned, and with --strict a failure, so that the list stays true. A name
      with ! in front hangs and is not run at all.

  run_guests.py DIRECTORY --server-under "COMMAND ..." --client-under "COMMAND ..." --address ADDR
      Runs each guest apart, "COMMAND ... GUEST server ADDR PORT" and then "... client ADDR PORT",
      and compares with a native run over loopback. Ports start at --port.

Prints one line per guest that fails and a summary; exit status 1 if any failed.
"""

import argparse
import concurrent.futures
import difflib
import itertools
import os
import shlex
import stat
import subprocess
import sys
import threading
import time

SECONDS = 60 * int(os.environ.get('GUEST_SLOW', 1))  # a guest ends itself after two thirds of that


def run(command):
    """What the command printed, and why it did not end well ('' if it did)."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as expired:
        return (expired.stdout or b'').decode(errors='replace'), f'no end within {SECONDS} s'
    output = done.stdout.decode(errors='replace')
    if done.returncode != 0:
        return output, f'exit status {done.returncode}'
    if 'unexpected:' in output:
        return output, 'met something unexpected'
    return output, ''


def run_apart(path, server_under, client_under, address, port):
    """The same for the two halves in two places, the client's lines first as in mode both."""
    where = [address, str(port)]
    with subprocess.Popen(server_under + [path, 'server'] + where, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        watchdog = threading.Timer(SECONDS, server.kill)
        watchdog.start()
        try:
            lines = []
            for line in server.stdout:
                lines.append(line.decode(errors='replace'))
                if lines[-1] == 'server: ready\n':
                    break
            output, complaint = '', 'the server is not ready'
            if lines and lines[-1] == 'server: ready\n':
                output, complaint = run(client_under + [path, 'client'] + where)
            if complaint:
                server.kill()
            lines += [line.decode(errors='replace') for line in server.stdout]
            if server.wait() != 0 and not complaint:
                complaint = f'exit status {server.returncode} of the server'
        finally:
            watchdog.cancel()
    output += ''.join(lines)
    if not complaint and 'unexpected:' in output:
        complaint = 'met something unexpected'
    return output, complaint


def difference(expected, got):
    lines = difflib.unified_diff(expected.splitlines(), got.splitlines(), 'native', 'second',
                                 lineterm='', n=1)
    lines = ['    ' + line for line in list(lines)[2:]]
    return '\n'.join(lines[:40] + (['    ...'] if len(lines) > 40 else []))


def check(path, native, second_run):
    """What is wrong ('' for nothing) and details."""
    began = time.monotonic()
    first, complaint = run([path, 'both'] + native)
    if complaint:
        return complaint + ' natively', first
    second, complaint = second_run(path)
    took = time.monotonic() - began
    if second != first:
        return (complaint or 'the output differs'), difference(first, second)
    if complaint:
        return complaint, second
    if not first:
        return 'prints nothing', ''
    if took > SECONDS:
        return f'took {took:.0f} s', ''
    return '', ''


def guests_in(directory):
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode) and mode & stat.S_IXUSR and '.' not in name:
            yield name


def known_differences(path):
    """The names that differ, and those not to be run."""
    if path is None:
        return set(), set()
    with open(path, encoding='utf-8') as lines:
        words = {line.split()[0] for line in lines if line.strip() and not line.startswith('#')}
    return ({word for word in words if not word.startswith('!')},
            {word[1:] for word in words if word.startswith('!')})


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('directory')
    parser.add_argument('names', nargs='*')
    parser.add_argument('--under', type=shlex.split, default=[], metavar='COMMAND')
    parser.add_argument('--server-under', type=shlex.split, metavar='COMMAND')
    parser.add_argument('--client-under', type=shlex.split, metavar='COMMAND')
    parser.add_argument('--address', default='127.0.0.1')
    parser.add_argument('--port', type=int, default=7600)
    parser.add_argument('--differs', metavar='FILE')
    parser.add_argument('--repeat', type=int, default=1, help='run the list that many times')
    parser.add_argument('--strict', action='store_true')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--list', action='store_true', help='print the names and end')
    options = parser.parse_intermixed_args()

    differs, hang = known_differences(options.differs)
    names = options.names or [name for name in guests_in(options.directory) if name not in hang]
    names *= options.repeat
    if options.list:
        print('\n'.join(names))
        return 0
    apart = options.server_under is not None or options.client_under is not None
    # Apart, a guest for IPv6 runs over the family of the address; so must its native run then.
    native = ['::1' if ':' in options.address else '127.0.0.1'] if apart else []
    ports = itertools.count(options.port)

    def second_run(path):
        if not apart:
            return run(options.under + [path, 'both'])
        return run_apart(path, options.server_under or [], options.client_under or [],
                         options.address, next(ports))

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        paths = [os.path.join(options.directory, name) for name in names]
        results = pool.map(lambda path: check(path, native, second_run), paths)
        for name, (complaint, details) in zip(names, results):
            if complaint and name in differs:
                continue
            if not complaint and name in differs:
                print(f'{name}: no longer differs')
                failed += options.strict
            if complaint:
                failed += 1
                print(f'{name}: {complaint}')
                if details:
                    print(details, flush=True)
    print(f'{len(names)} guests, {failed} failed')
    return 1 if failed or not names else 0


if __name__ == '__main__':
    sys.exit(main())
