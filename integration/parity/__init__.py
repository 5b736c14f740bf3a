"""Scenarios that are played under containerd's own shim and under Shunt, and must read the same.

`stage.py` has the recorder and the comparison, the other files the scenarios by topic, and
`differences.py` the few places where the two may differ, each with its reason.
"""

from . import basics, errors, execs, life, stdio  # noqa: F401  (they register their scenarios)
from .stage import SCENARIOS, compare, play

__all__ = ["SCENARIOS", "compare", "play"]
