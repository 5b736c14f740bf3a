#!/usr/bin/python3
"""Many of everything, and nothing that grows: descriptors, threads, memory, files."""

import concurrent.futures
import os

import harness
from harness import QUICK, RUNTIME, SHUNT, wait_until
from lib import proc

CONTAINERS = 10 if QUICK else 50
EXECS = 200 if QUICK else 2000
CYCLES = 50 if QUICK else 500
WAITERS = 50 if QUICK else 500

# Memory may differ by what an allocator keeps after a burst, not by something per exec or
# per cycle: 2,000 times 64 bytes would show.
MEMORY_SLACK_KIB = 128


class Load(harness.NodeTest):
    def setUp(self):
        self.addCleanup(self.assert_clean, 30)

    def figures(self, shim):
        """What must not grow."""
        state = [os.path.join(folder, name) for folder, _, names in os.walk(self.node.dir)
                 if "/root/" not in folder for name in names]
        return {
            "descriptors": len(proc.descriptors(shim)),
            "threads": proc.threads(shim),
            "anonymous KiB": proc.memory(shim)["anonymous"],
            "RSS KiB": proc.memory(shim)["rss"],
            "files": len(state),
            "children": len([pid for pid, parent in proc.parents().items() if parent == shim]),
        }

    def compare(self, what, before, after):
        print(f"\n    {what}:")
        for key in before:
            print(f"      {key:14} {before[key]:7} -> {after[key]:7}")
        for key in ("descriptors", "threads", "files", "children"):
            self.assertLessEqual(after[key], before[key], f"{key} grew")
        if RUNTIME == SHUNT and "asan" not in os.environ.get("SHUNT_BUILD", ""):
            self.assertLessEqual(after["anonymous KiB"], before["anonymous KiB"] + MEMORY_SLACK_KIB)

    def settled(self, shim, reference):
        """The figures once what ends by itself has ended."""
        def down():
            now = self.figures(shim)
            return now if all(now[key] <= reference[key] for key in
                              ("descriptors", "files", "children")) else None

        try:
            return wait_until(down, "return to the figures before", 10)
        except TimeoutError:
            return self.figures(shim)

    def test_containers_at_once(self):
        ids = [f"c{number}" for number in range(CONTAINERS)]
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            pids = list(pool.map(
                lambda id: self.node.start(id, "sleep", "1000", runtime=RUNTIME, timeout=120), ids))
        self.assertEqual({id: (pid, "RUNNING") for id, pid in zip(ids, pids)}, self.node.tasks())
        shims = self.node.shims(RUNTIME)
        figures = [proc.memory(shim) for shim in shims]
        print(f"\n    {len(ids)} containers, {len(shims)} shims: together"
              f" {sum(f['pss'] for f in figures)} KiB proportional,"
              f" each at most {max(f['anonymous'] for f in figures)} KiB anonymous,"
              f" {max(proc.threads(shim) for shim in shims)} threads")
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            results = list(pool.map(lambda id: self.node.exec(id, "hostname", check=False), ids))
            self.assertEqual([0] * len(ids), [result.returncode for result in results])
            list(pool.map(self.node.remove, ids))

    def test_execs_in_one_container(self):
        self.node.start("c", "sleep", "1000", runtime=RUNTIME)
        self.addCleanup(self.node.remove, "c")
        shim, tasks = self.node.shim_of("c"), self.node.task_service

        def one(number):
            id = f"x{number}"
            tasks.exec("c", id, ["sh", "-c", f"exit {number % 100}"])
            waiting = tasks.wait_later("c", id)
            tasks.call("Start", timeout=60, container_id="c", exec_id=id)
            code = waiting.result().exit_status
            tasks.call("DeleteProcess", timeout=60, container_id="c", exec_id=id)
            return code

        def many(numbers):
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                codes = list(pool.map(one, numbers))
            self.assertEqual([number % 100 for number in numbers], codes)

        many(range(50))  # allocators, caches and pools take their size
        before = self.figures(shim)
        many(range(50, 50 + EXECS))
        self.compare(f"{EXECS} execs in one container", before, self.settled(shim, before))

    def test_execs_through_ctr(self):
        """The same with fifos and a client each."""
        self.node.start("c", "sleep", "1000", runtime=RUNTIME)
        self.addCleanup(self.node.remove, "c")
        shim = self.node.shim_of("c")

        def many(count):
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                outputs = list(pool.map(
                    lambda n: self.node.exec("c", "echo", str(n)).stdout, range(count)))
            self.assertEqual([f"{n}\n" for n in range(count)], outputs)

        many(20)
        before = self.figures(shim)
        many(EXECS // 10)
        self.compare(f"{EXECS // 10} execs through ctr", before, self.settled(shim, before))

    def test_create_and_delete(self):
        """Cycles of one task in a shim that lives on because of another one of its group."""
        group = ["--annotation", "io.containerd.runc.v2.group=group"]
        self.node.start("stays", "sleep", "1000", runtime=RUNTIME, flags=group)
        self.addCleanup(self.node.remove, "stays")
        self.node.create("c", "true", runtime=RUNTIME, flags=group)
        self.addCleanup(self.node.remove, "c")
        shim, tasks = self.node.shim_of("stays"), self.node.task_service

        def cycles(count):
            for _ in range(count):
                tasks.create("c")
                waiting = tasks.wait_later("c")
                tasks.call("Start", container_id="c")
                self.assertEqual(0, waiting.result().exit_status)
                tasks.call("Delete", container_id="c")

        cycles(20)
        self.assertEqual([shim], self.node.shims(), "one shim for the group")
        before = self.figures(shim)
        cycles(CYCLES)
        self.compare(f"{CYCLES} times create and delete", before, self.settled(shim, before))

    def test_waiting_clients(self):
        self.node.start("c", "sleep", "1000", runtime=RUNTIME)
        self.addCleanup(self.node.remove, "c")
        shim, tasks = self.node.shim_of("c"), self.node.task_service
        before = self.figures(shim)
        waiting = [tasks.wait_later("c") for _ in range(WAITERS)]
        self.assertEqual("works\n", self.node.exec("c", "echo", "works").stdout)
        during = self.figures(shim)
        print(f"\n    {WAITERS} waiting clients: {during['threads']} threads,"
              f" {during['descriptors']} descriptors")
        self.assertEqual(before["threads"], during["threads"])
        tasks.call("Kill", container_id="c", signal=9)
        self.assertEqual({137}, {future.result().exit_status for future in waiting})


if __name__ == "__main__":
    harness.main()
