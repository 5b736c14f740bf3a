"""Where Shunt may answer otherwise than containerd's runc shim, and why.

DIFFERENCES[scenario][label] is a Difference. The test fails if a difference is not in this table,
and also if what is in the table no longer matches what comes.
"""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Difference:
    """`reference` and `ours` are regular expressions that the records' repr() must match in full."""

    why: str
    reference: str
    ours: str

    def covers(self, expected, found):
        return bool(re.fullmatch(self.reference, repr(expected), re.S)
                    and re.fullmatch(self.ours, repr(found), re.S))


DIFFERENCES = {}
