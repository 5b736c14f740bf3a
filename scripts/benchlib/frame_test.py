#!/usr/bin/python3
"""The frame of scripts/bench, without measuring anything: scripts/benchlib/frame_test.py"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from benchlib import Bar, Bench, Measure, cpu, report  # noqa: E402
from benchlib.bench import Comparison  # noqa: E402
from benchlib.measure import Spread  # noqa: E402
from benchlib.spinners import Spinners  # noqa: E402


def measured(bars=(), **rounds):
    measure = Measure("wall", "time", "ms", list(bars))
    for variant, values in rounds.items():
        for value in values:
            measure.add(variant, value)
    return measure


class Measures(unittest.TestCase):
    def test_a_round_of_many_operations_counts_by_its_median(self):
        measure = measured(a=[[1, 2, 9], [4, 5, 6]])
        self.assertEqual(measure.rounds["a"], [2, 5])
        self.assertEqual(measure.samples["a"], [[1, 2, 9], [4, 5, 6]])

    def test_ratios_are_taken_within_a_round(self):
        # The machine slows down threefold in the last round: the ratio does not notice.
        measure = measured(base=[10, 10, 30], new=[5, 5, 15])
        ratio = measure.ratio("new", "base")
        self.assertEqual((ratio.median, ratio.least, ratio.most), (0.5, 0.5, 0.5))

    def test_a_baseline_of_zero_gives_no_ratio(self):
        self.assertIsNone(measured(base=[0, 0], new=[1, 1]).ratio("new", "base"))

    def test_of_many_rounds_where_the_median_lies_is_shown(self):
        few, many = Spread.of(range(30)), Spread.of([*range(100), 10000])
        self.assertEqual((few.median, few.least, few.most), (14.5, 0, 29))
        self.assertEqual((many.median, many.least, many.most), (50, 40, 60))

    def test_many_rounds_that_do_not_tell_decide_no_bar(self):
        bar = Bar("new", at_most=10)
        for values, verdict in (([9, 12] * 50, "undecided"), ([9] * 100, "met"),
                                ([11] * 100, "missed"), ([9, 12], "missed")):
            self.assertEqual(measured([bar], new=values).judge()[0][2], verdict)

    def test_bars_are_met_or_missed(self):
        def verdicts(*bars):
            judged = measured(bars, base=[10], new=[8]).judge()
            return [(value, verdict) for _, value, verdict in judged]

        self.assertEqual(verdicts(Bar("new", at_most=8)), [(8, "met")])
        self.assertEqual(verdicts(Bar("new", at_most=7.9)), [(8, "missed")])
        self.assertEqual(verdicts(Bar("new", against="base", at_most=0.8)), [(0.8, "met")])
        self.assertEqual(verdicts(Bar("new", against="base", at_least=0.9)), [(0.8, "missed")])
        self.assertEqual(verdicts(Bar("new", against="other", at_most=1)), [(None, "not measured")])
        self.assertEqual(verdicts(Bar("other", at_most=1)), [(None, "not measured")])

    def test_a_bar_has_one_limit(self):
        with self.assertRaises(ValueError):
            Bar("new")
        with self.assertRaises(ValueError):
            Bar("new", at_most=1, at_least=1)


class Turns(unittest.TestCase):
    def test_variants_take_turns(self):
        order = []

        def variant(name):
            return lambda: order.append(name) or {"wall": 1}

        bench = Bench(quick=True)
        bench.compare("t", {"a": variant("a"), "b": variant("b")}, [measured()], warm_up=1)
        self.assertEqual("".join(order), "ab" * 4)
        self.assertEqual(len(bench.comparisons[0].measures[0].rounds["a"]), 3)

    def test_an_interruption_keeps_what_was_measured(self):
        bench, calls = Bench(), []

        def interrupted():
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return {"wall": 2}

        measure = measured([Bar("b", against="a", at_most=1)])
        with self.assertRaises(KeyboardInterrupt):
            bench.compare("t", {"a": lambda: {"wall": 1}, "b": interrupted}, [measure], warm_up=0)
        self.assertEqual(measure.rounds, {"a": [1, 1, 1], "b": [2, 2]})
        self.assertIn("2.00 (2.00–2.00)", report.table(bench.comparisons[0]))
        json.dumps(report.as_json(bench.comparisons[0]))

    def test_nothing_measured_can_be_printed(self):
        comparison = Comparison("t", ["a", "b"], [measured([Bar("b", against="a", at_most=1)])])
        self.assertIn("not measured", report.table(comparison))
        json.dumps(report.as_json(comparison))


class Reports(unittest.TestCase):
    def test_numbers_have_three_digits_that_count(self):
        shown = [report.number(each) for each in (0, 7, 0.04213, 0.842, 3.256, 13.34, 1240.4)]
        self.assertEqual(shown, ["0", "7", "0.042", "0.84", "3.26", "13.3", "1240"])

    def test_a_table_shows_spread_ratio_and_bar(self):
        bar = Bar("new", against="base", at_most=1.0, goal=0.9)
        measure = measured([bar], base=[10, 12, 11], new=[8.5, 8.5, 8.5])
        lines = report.table(Comparison("title", ["base", "new"], [measure])).splitlines()
        self.assertEqual(lines[0], "title")
        for piece in ("11 (10–12)", "8.50 (8.50–8.50)", "0.77 (0.71–0.85)",
                      "at most 1.00 x, goal 0.90", "met, goal too"):
            self.assertIn(piece, lines[2])

    def test_a_bar_against_another_than_the_baseline_gets_its_column(self):
        bars = [Bar("new", against="base", at_most=0.6), Bar("new", against="limit", at_most=1.05)]
        measure = measured(bars, base=[10], limit=[5], new=[5.5])
        lines = report.table(Comparison("t", ["base", "limit", "new"], [measure])).splitlines()
        self.assertIn("new / limit", lines[1])
        self.assertTrue(lines[2].endswith("met"))
        self.assertTrue(lines[3].endswith("missed"))


class Cpu(unittest.TestCase):
    def test_both_kinds_of_cgroups_are_read(self):
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(f"{root}/node")
            with open(f"{root}/node/cpu.stat", "w", encoding="ascii") as file:
                file.write("usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n")
            saved, cpu.CGROUPS = cpu.CGROUPS, root
            try:
                self.assertEqual(cpu.cgroup_seconds("node"), 1.5)
                self.assertEqual(cpu.cgroup_seconds("absent"), 0)
                os.makedirs(f"{root}/cpuacct/node")
                with open(f"{root}/cpuacct/node/cpuacct.usage", "w", encoding="ascii") as file:
                    file.write("2500000000\n")
                self.assertEqual(cpu.cgroup_seconds("node"), 2.5)
            finally:
                cpu.CGROUPS = saved

    def test_the_cpu_time_of_a_process_is_its_clock(self):
        before = cpu.process_seconds(os.getpid())
        while time.process_time() < before + 0.02:
            pass
        self.assertAlmostEqual(cpu.process_seconds(os.getpid()), time.process_time(), delta=0.01)

    def test_spinners_spin_below_everything_and_end(self):
        with Spinners() as spinners:
            pids = [process.pid for process in spinners._processes]
            self.assertEqual(len(pids), len(os.sched_getaffinity(0)))
            deadline = time.monotonic() + 10
            while any(os.sched_getscheduler(pid) != os.SCHED_IDLE for pid in pids):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.01)
            self.assertEqual([len(os.sched_getaffinity(pid)) for pid in pids], [1] * len(pids))
        self.assertFalse([pid for pid in pids if os.path.exists(f"/proc/{pid}")])

    def test_spinners_die_with_their_owner(self):
        code = ("from benchlib.spinners import Spinners\n"
                "import time\n"
                "with Spinners() as s:\n"
                "  print(*[p.pid for p in s._processes], flush=True)\n"
                "  time.sleep(60)\n")
        owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                                 env={**os.environ, "PYTHONPATH": sys.path[0]})
        pids = [int(word) for word in owner.stdout.readline().split()]
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
        deadline = time.monotonic() + 10
        while any(self._runs(pid) for pid in pids):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    @staticmethod
    def _runs(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                return file.read().rpartition(")")[2].split()[0] not in "ZX"
        except FileNotFoundError:
            return False


if __name__ == "__main__":
    unittest.main()
