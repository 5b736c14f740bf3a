"""What a suite is handed: how many rounds, the taking of turns, and a place for results."""

import dataclasses
import sys


@dataclasses.dataclass
class Comparison:
    """Measures that the same rounds produce, of the same variants; the first one is the baseline."""

    title: str
    variants: list
    measures: list


class Bench:
    """`quick` asks for a first impression: fewer rounds, and suites repeat less within each."""

    def __init__(self, quick=False, progress=sys.stderr):
        self.quick = quick
        self.rounds = 3 if quick else 7
        self.comparisons = []
        self.notes = []
        self._progress = progress

    def pick(self, usual, quick):
        """One of two amounts, for what a suite repeats inside a round."""
        return quick if self.quick else usual

    def note(self, text):
        """A line under the suite's tables."""
        self.notes.append(text)

    def compare(self, title, variants, measures, rounds=None, warm_up=1):
        """Runs every variant once a round, in turns: A B C A B C. `variants` maps names, baseline
        first, to functions that return {key of a measure: number or list of numbers}. The rounds
        before the first counted one fill caches. What was measured before an interruption stays."""
        rounds = rounds or self.rounds
        comparison = Comparison(title, list(variants), measures)
        self.comparisons.append(comparison)
        for turn in range(-warm_up, rounds):
            for name, function in variants.items():
                step = f"round {turn + 1}/{rounds}" if turn >= 0 else "warm-up"
                self._say(f"{title}: {step}, {name}")
                result = function()
                if turn < 0:
                    continue
                for measure in measures:
                    measure.add(name, result[measure.key])
        self._say("")
        return comparison

    def _say(self, text):
        if self._progress and self._progress.isatty():
            print(f"\r\x1b[K{text}", end="", file=self._progress, flush=True)
