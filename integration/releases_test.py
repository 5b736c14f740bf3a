#!/usr/bin/python3
"""The containerd and runc of other Debian releases: pods, sudden deaths and fast connections there.

The tests themselves are those of the other files, run again. SHUNT_LONG=1 plays the scenarios of
parity as well, on containerd 1.7: of 2.1's own shim the last event is lost now and then."""

import os
import subprocess
import sys
import unittest

import harness
from lib import releases

_HERE = os.path.dirname(os.path.realpath(__file__))
FILES = ("cri", "restart", "inspect")
PARITY = ("trixie",) if harness.LONG else ()


class Releases(unittest.TestCase):
    def run_on(self, suite):
        try:
            tools = releases.tools(suite)
        except releases.Unavailable as reason:
            self.skipTest(str(reason))
        for file in (*FILES, *(("parity",) if suite in PARITY else ())):
            with self.subTest(file):
                result = subprocess.run(
                    [sys.executable, "-B", os.path.join(_HERE, f"{file}_test.py")],
                    env={**os.environ, "SHUNT_TOOLS": tools, "SHUNT_QUICK": "1"},
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
                    check=False)
                self.assertEqual(0, result.returncode, result.stdout)


def _make(suite):
    return lambda self: self.run_on(suite)


for _suite in releases.SUITES:
    setattr(Releases, f"test_{_suite}", _make(_suite))

if __name__ == "__main__":
    harness.main()
