"""Runs the tests of a program side by side, each in a process of its own: those that wait most of their time, and whose
bounds do not depend on what runs beside them."""

import os
import subprocess
import sys
import tempfile
import unittest


def names(case=None):
    """Of all tests of the program, or of one of its classes."""
    loader = unittest.defaultTestLoader
    suites = [loader.loadTestsFromTestCase(case) if case else loader.loadTestsFromModule(sys.modules['__main__'])]
    while suites:
        for each in suites.pop(0):
            if isinstance(each, unittest.TestSuite):
                suites.append(each)
            else:
                yield each.id().removeprefix('__main__.')


def run(waiting, at_once):
    """Each of these (a test, or a class of them), so many at a time; 1 if one of them failed, else 0."""
    waiting, running, status = list(waiting), {}, 0
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                output = tempfile.TemporaryFile('w+')
                process = subprocess.Popen(['/usr/bin/python3', '-B', sys.argv[0], waiting.pop(0)],
                                           stdout=output, stderr=subprocess.STDOUT)
                running[process.pid] = process, output
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            for pid in [pid for pid, (process, _) in running.items() if process.poll() is not None]:
                process, output = running.pop(pid)
                output.seek(0)
                print(output.read(), flush=True)
                output.close()
                status |= process.returncode != 0
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.wait()
    return status
