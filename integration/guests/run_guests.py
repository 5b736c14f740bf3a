#!/usr/bin/python3
"""Runs the guest programs and compares what they print.

  run_guests.py DIRECTORY [NAME ...]
      Runs each guest of DIRECTORY natively, client and server together over loopback, twice. Both
      runs must end well, within a time, and print the same.

  run_guests.py DIRECTORY --under "COMMAND ..." [--differs FILE] [NAME ...]
      Runs each guest once natively and once as "COMMAND ... GUEST both", and compares. FILE names
      guests (one a line, a reason may follow) whose output is known to differ; one that does not
      differ any more is a failure too, so that the list stays true.

Prints one line per guest that fails and a summary; exit status 1 if any failed.
"""

import argparse
import concurrent.futures
import difflib
import os
import shlex
import stat
import subprocess
import sys
import time

SECONDS = 60  # a guest ends itself after 40


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


def difference(expected, got):
    lines = difflib.unified_diff(expected.splitlines(), got.splitlines(), 'native', 'second',
                                 lineterm='', n=1)
    return '\n'.join('    ' + line for line in list(lines)[2:])


def check(path, under):
    """Name, verdict ('' is fine), details, seconds."""
    began = time.monotonic()
    first, complaint = run([path, 'both'])
    if complaint:
        return complaint + ' natively', first
    second, complaint = run(under + [path, 'both'])
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
    if path is None:
        return set()
    with open(path, encoding='utf-8') as lines:
        return {line.split()[0] for line in lines if line.strip() and not line.startswith('#')}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('directory')
    parser.add_argument('names', nargs='*')
    parser.add_argument('--under', type=shlex.split, default=[], metavar='COMMAND')
    parser.add_argument('--differs', metavar='FILE')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--list', action='store_true', help='print the names and end')
    options = parser.parse_args()

    names = options.names or list(guests_in(options.directory))
    if options.list:
        print('\n'.join(names))
        return 0
    differs = known_differences(options.differs)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        paths = [os.path.join(options.directory, name) for name in names]
        results = pool.map(lambda path: check(path, options.under), paths)
        for name, (complaint, details) in zip(names, results):
            if complaint and name in differs:
                continue
            if not complaint and name in differs:
                complaint = 'no longer differs'
            if complaint:
                failed += 1
                print(f'{name}: {complaint}')
                if details:
                    print(details, flush=True)
    print(f'{len(names)} guests, {failed} failed')
    return 1 if failed or not names else 0


if __name__ == '__main__':
    sys.exit(main())
