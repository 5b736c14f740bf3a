#!/usr/bin/python3
"""OCI runtimes that hang, fail, lie or do not fit this machine, and configurations that make no
sense: containerd gets its answer in time, in one sentence, and nothing is left."""

import os
import re
import subprocess
import time

import harness
from harness import RUNTIME, SHUNT
from lib import paths

LIMIT = 2  # seconds; runtime.timeout in these tests


class Runtimes(harness.NodeTest):
    def setUp(self):
        if RUNTIME != SHUNT:
            self.skipTest("needs Shunt's configuration")
        self.addCleanup(self.assert_clean)

    def config(self, body, **more):
        """A configuration whose OCI runtime is a shell script; $1 is its command, $@ all arguments.
        What the script does not deal with goes to runc."""
        script = os.path.join(self.node.dir, "runtime.sh")
        with open(script, "w", encoding="utf-8") as file:
            file.write(f"""#!/bin/bash
for word; do
  case $word in create|start|exec|kill|delete|pause|update) command=$word; break ;; esac
done
{body}
exec {paths.tool("runc")} "$@"
""")
        os.chmod(script, 0o755)
        return self.node.write_config(
            {"runtime": {"binary": script, "timeout": f"{LIMIT}s", **more}},
            os.path.join(self.node.dir, "other.yaml"))

    def fails(self, config, *expected, within=LIMIT + 5):
        """`ctr run` fails in time with one sentence that has these words."""
        begin = time.monotonic()
        result = self.node.run("c", "true", config=config, check=False)
        took = time.monotonic() - begin
        self.assertEqual(1, result.returncode, result)
        for words in expected:
            self.assertIn(words, result.stderr)
        self.assertLess(took, within)
        print(f"    {took:.1f} s: {result.stderr.strip()}")
        # What containerd and ctr add is no part of the sentence.
        message = re.sub(r"(\n: exit status 1)?: unknown\n$", "", result.stderr)
        self.assertEqual(1, len(message.splitlines()), "one sentence")
        self.node.remove("c", check=False)
        # containerd serves others meanwhile and afterwards.
        self.assertEqual("ok\n", self.node.run("d", "echo", "ok").stdout)

    def test_create_hangs(self):
        self.fails(self.config("[[ $command == create ]] && exec sleep 1000"), f"{LIMIT}", "create")

    def test_create_ignores_signals(self):
        self.fails(self.config("[[ $command == create ]] && { trap '' TERM INT HUP; sleep 1000; }"),
                   "create")

    def test_create_hangs_with_children(self):
        """Everything that the call started is ended with it, whatever group it moved to."""
        self.fails(self.config("[[ $command == create ]] && { setsid sleep 1001 & sleep 1000; }"),
                   "create")

    def test_start_hangs(self):
        self.fails(self.config("[[ $command == start ]] && exec sleep 1000"), "start",
                   within=2 * LIMIT + 8)

    def test_exec_hangs(self):
        config = self.config("[[ $command == exec ]] && exec sleep 1000")
        self.node.start("c", "sleep", "1000", config=config)
        begin = time.monotonic()
        result = self.node.exec("c", "true", check=False)
        self.assertEqual(1, result.returncode)
        self.assertIn("exec", result.stderr)
        self.assertLess(time.monotonic() - begin, LIMIT + 5)
        self.assertEqual("RUNNING", self.node.tasks()["c"][1])
        self.node.remove("c")

    def test_kill_hangs(self):
        marker = os.path.join(self.node.dir, "killable")
        config = self.config(f"[[ $command == kill && ! -e {marker} ]] && exec sleep 1000")
        self.node.start("c", "sleep", "1000", config=config)
        begin = time.monotonic()
        self.node.ctr("task", "kill", "-s", "KILL", "c", check=False)
        self.assertLess(time.monotonic() - begin, LIMIT + 5)
        # Questions are answered meanwhile, and the task can still be got rid of.
        self.assertIn("c", self.node.tasks())
        with open(marker, "w", encoding="ascii"):
            self.node.remove("c")

    def test_delete_hangs(self):
        marker = os.path.join(self.node.dir, "deletable")
        config = self.config(f"[[ $command == delete && ! -e {marker} ]] && exec sleep 1000")
        self.node.start("c", "true", config=config)
        begin = time.monotonic()
        self.node.ctr("task", "rm", "c", check=False)
        self.assertLess(time.monotonic() - begin, 3 * LIMIT + 5)
        with open(marker, "w", encoding="ascii"):
            self.node.remove("c", check=False)

    def test_others_are_served_while_one_hangs(self):
        config = self.config("[[ $command == create ]] && exec sleep 1000")
        argv = self.node.run_argv("c", "true", config=config, flags=["--rm"])
        with subprocess.Popen(argv, env=self.node.env(), stdin=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as stuck:
            begin = time.monotonic()
            self.assertEqual("ok\n", self.node.run("d", "echo", "ok").stdout)
            self.assertLess(time.monotonic() - begin, LIMIT)
            self.assertEqual(1, stuck.wait(20))
        self.node.remove("c", check=False)

    def test_create_fails_without_a_word(self):
        self.fails(self.config("[[ $command == create ]] && exit 3"), "create")

    def test_create_claims_success(self):
        self.fails(self.config("[[ $command == create ]] && exit 0"), "create")

    def test_create_talks_nonsense(self):
        self.fails(self.config(
            "[[ $command == create ]] && { head -c 1000000 /dev/urandom; exit 1; }"), "create")

    def test_runtime_is_missing(self):
        path = self.node.write_config({"runtime": {"binary": "/no/such/runtime"}},
                                      os.path.join(self.node.dir, "other.yaml"))
        self.fails(path, "/no/such/runtime", "o such file")

    def test_crun_does_not_fit_hybrid_cgroups(self):
        if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            self.skipTest("this machine has cgroup v2 only, which crun supports")
        path = self.node.write_config({"runtime": {"binary": "crun"}},
                                      os.path.join(self.node.dir, "other.yaml"))
        self.fails(path, "crun", "cgroup")

    def config_fails(self, text, *expected):
        path = os.path.join(self.node.dir, "other.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.fails(path, path, *expected)

    def test_config_with_an_unknown_key(self):
        self.config_fails("log:\n  levle: debug\n", ":2", "levle", "level")

    def test_config_with_a_wrong_value(self):
        self.config_fails("log:\n  level: loud\n", ":2", "loud")

    def test_config_that_is_not_yaml(self):
        self.config_fails("log: [\n", "other.yaml")

    def test_config_is_missing(self):
        self.fails(os.path.join(self.node.dir, "none.yaml"), "none.yaml")


if __name__ == "__main__":
    harness.main()
