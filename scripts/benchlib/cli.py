"""scripts/bench itself: which suites, the machine, the printing, and what the exit status says."""

import argparse
import datetime
import importlib
import json
import os
import pkgutil
import sys
import time
import traceback

from lib import Skip, paths

from . import machine, report, suites
from .bench import Bench
from .spinners import Spinners

SKIPPED = 77

_EPILOG = """\
Variants take turns (A B C A B C ...); figures are the median (min–max) of the rounds, ratios are
taken within each round. Of 40 rounds or more, between what the median lies with 95 % confidence is
shown instead of min–max, and a bar in between is undecided. Only ratios mean something on another machine. A missed bar is printed and
changes nothing else: the exit status is 0 unless measuring failed (1), was interrupted (130) or is
not possible here (77).
"""


def _names():
    return sorted(module.name for module in pkgutil.iter_modules(suites.__path__))


def _load(name):
    return importlib.import_module(f"{suites.__name__}.{name.replace('-', '_')}")


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measures Shunt against what it replaces.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="default: all")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a first impression")
    parser.add_argument("--list", action="store_true", help="print the suites")
    parser.add_argument("--json", metavar="FILE", help="also write everything, raw samples too")
    options = parser.parse_args(argv)
    known = [name.replace("_", "-") for name in _names()]
    for name in options.suites:
        if name not in known:
            parser.error(f"no suite {name!r}; there are: {', '.join(known)}")
    options.suites = options.suites or known
    return options


def _run_suite(name, quick):
    """Runs one suite, prints its tables. Returns its part of the JSON and an exit status."""
    bench = Bench(quick)
    started, status, problem = time.monotonic(), 0, None
    try:
        with Spinners():
            _load(name).run(bench)
    except Skip as skip:
        status, problem = SKIPPED, f"skipped: {skip}"
    except (KeyboardInterrupt, SystemExit):
        status, problem = 130, "interrupted; what follows is incomplete"
    except Exception as error:  # whatever a measurement may raise: the other suites go on
        traceback.print_exc()
        status, problem = 1, f"failed: {error}"
    seconds = time.monotonic() - started

    print(f"\n== {name}: {_load(name).SUMMARY}")
    if problem:
        print(problem)
    for comparison in bench.comparisons:
        print("\n" + report.table(comparison))
    for note in bench.notes:
        print(f"\n{note}")
    judged = report.bars(bench.comparisons)
    if judged:
        missed = [each[:-1] for each in judged if each[-1] == "missed"]
        undecided = sum(each[-1] == "undecided" for each in judged)
        print(f"\n{len(judged)} bars, {len(missed)} missed"
              + (f", {undecided} undecided" if undecided else "") + (":" if missed else ""))
        for comparison, measure, bar, value in missed:
            print(f"  {comparison.title}: {measure.title}: {report.bar_line(measure, bar, value)}")
    sys.stdout.flush()
    return status, {
        "name": name,
        "seconds": seconds,
        "problem": problem,
        "comparisons": [report.as_json(each) for each in bench.comparisons],
        "notes": bench.notes,
    }


def main(argv):
    options = _parse(argv)
    if options.list:
        for name in _names():
            print(f"{name.replace('_', '-'):12} {_load(name).SUMMARY}")
        return 0
    if os.geteuid() != 0:
        print("scripts/bench: needs root", file=sys.stderr)
        return SKIPPED

    host = machine.describe(paths.shim_binary())
    print("\n".join(report.machine_lines(host)))
    if host["load"] > 0.5 * host["cores"]:
        print(f"the machine is busy (load {host['load']:.1f}): expect wide ranges")
    sys.stdout.flush()
    document = {
        "format": 1,
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "quick": options.quick,
        "machine": host,
        "suites": [],
    }
    statuses = []
    for name in options.suites:
        status, part = _run_suite(name, options.quick)
        statuses.append(status)
        document["suites"].append(part)
        if options.json:  # after each suite: a later one may be interrupted
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=1)
                file.write("\n")
        if status == 130:
            break
    for worst in (130, 1):
        if worst in statuses:
            return worst
    return SKIPPED if all(status == SKIPPED for status in statuses) else 0
