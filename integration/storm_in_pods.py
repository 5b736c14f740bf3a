#!/usr/bin/python3
"""A storm of connections between two supervised namespaces, without containerd, so that the supervisor
may be an instrumented one (preset tsan).

  storm_in_pods.py LAUNCHER

Both kinds of pair: connections that are checked byte by byte while processes of both sides are killed
(measure/integrity.c), then threads and children that race for the same numbers (measure/hostile.c).
Fails if the data is wrong, if nothing is fast, or if a sanitizer has something to say. Needs root; exits
with 77 without.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(_HERE), "scripts"))

from lib import programs  # noqa: E402

# Bounded waits that a busy machine may exceed.
LATE = ("slow-handshake", "server-went-ahead")
SERVER, CLIENT = "198.18.73.1", "198.18.73.2"


def ip(*arguments, check=True):
    subprocess.run(["ip", *arguments], check=check, stderr=None if check else subprocess.DEVNULL)


class Storm:
    def __init__(self, launcher, folder, names):
        self.launcher, self.folder, self.names = launcher, folder, names
        self.env = dict(os.environ)
        for name in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"):
            self.env[name] = ":".join([f"log_path={folder}/sanitizer",
                                       *filter(None, [os.environ.get(name)])])
        with open(f"{folder}/address", "w", encoding="ascii") as file:
            file.write(SERVER)

    def argv(self, pod, pair, *command):
        return [self.launcher, "--stats", "--pod", self.names[pod], "--netns", self.names[pod],
                "--pair", pair, "--state", f"{self.folder}/state", "--", *command]

    def run(self, pair, port, server, client):
        """A server, and a client until it ends; what the client and its supervisor printed."""
        with subprocess.Popen(self.argv(0, pair, *server), env=self.env, stdin=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as serving:
            try:
                self.wait_port(port)
                done = subprocess.run(self.argv(1, pair, *client), env=self.env, timeout=240,
                                      capture_output=True, text=True, check=True)
            finally:
                serving.terminate()  # the launcher passes it on
        paths = {path: int(n) for path, n in re.findall(r"^path (\S+) (\d+)$", done.stderr, re.M)}
        return done.stdout, paths["upgraded"], sum(paths.get(path, 0) for path in LATE)

    def wait_port(self, port):
        for _ in range(2000):
            found = subprocess.run(["ip", "netns", "exec", self.names[0], "ss", "-Htln",
                                    f"sport = :{port}"], capture_output=True, check=True).stdout
            if found:
                return
        raise TimeoutError(f"nobody listens at {port}")

    def both(self, pair):
        integrity = programs.compiled(os.path.join(_HERE, "measure", "integrity.c"))
        hostile = programs.compiled(os.path.join(_HERE, "measure", "hostile.c"))
        text, fast, late = self.run(pair, 7301, [integrity, "serve", "7300", "4", "20"],
                                    [integrity, "run", f"{self.folder}/address", "7300", "1", "8",
                                     "2000", "200", "20"])
        counts = json.loads(text)
        print(f"{pair}: {counts}, {fast} upgraded, {late} late")
        assert counts["complete"] >= 2000 and counts["wrong"] == counts["stuck"] == 0, counts
        assert fast + late >= 1800 and fast >= 1000, (fast, late)
        _, fast, _ = self.run(pair, 7400, [hostile, "serve", "7400"],
                              [hostile, "race", SERVER, "7400", "4"])
        print(f"{pair}: {fast} upgraded in races")
        assert fast > 0


def main():
    if os.geteuid() != 0:
        print("needs root: network namespaces")
        return 77
    names = [f"storm-{os.getpid()}-{half}" for half in "sc"]
    links = [f"t{os.getpid()}{half}" for half in "sc"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", links[0], "netns", names[0], "type", "veth", "peer", "name", links[1],
           "netns", names[1])
        for name, link, address in zip(names, links, (SERVER, CLIENT)):
            ip("-n", name, "addr", "add", address + "/24", "dev", link)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", link, "up")
        with tempfile.TemporaryDirectory(prefix="storm-in-pods-") as folder:
            storm = Storm(sys.argv[1], folder, names)
            for pair in ("unix", "tcp"):
                storm.both(pair)
            reports = [name for name in os.listdir(folder) if name.startswith("sanitizer.")]
            for name in reports:
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    print(file.read())
            return 1 if reports else 0
    finally:
        for name in names:
            ip("netns", "del", name, check=False)


if __name__ == "__main__":
    sys.exit(main())
