"""The frame of scripts/bench. A suite is a module of benchlib/suites with

    SUMMARY = "one line for --list"

    def run(bench):
        with Node() as node:
            bench.compare(
                "exec",
                {"runc": lambda: one_round(RUNC), "shunt": lambda: one_round(SHUNT)},
                [Measure("wall", "exec round trip", "ms", [Bar("shunt", against="runc", at_most=1)]),
                 Measure("cpu", "CPU per exec", "ms")])

where one_round() does the thing a few times and returns {"wall": [every time], "cpu": number}.
What the frame adds is the method: rounds in which the variants take turns, ratios of neighbours,
spinners, the description of the machine, tables, JSON, and the end of everything it started.
"""

from .bench import Bench
from .measure import Bar, Measure

__all__ = ["Bar", "Bench", "Measure"]
