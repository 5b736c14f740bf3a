"""Where Shunt may answer otherwise than containerd's runc shim, and why.

DIFFERENCES[scenario][label] is a Difference. The test fails if a difference is not in this table,
and also if what is in the table no longer matches what comes.
"""

import dataclasses
import os
import re

UNIFIED = "/sys/fs/cgroup/cgroup.controllers"  # there on cgroup v2 alone


@dataclasses.dataclass(frozen=True)
class Difference:
    """`reference` and `ours` are regular expressions that the records' repr() must match in full.
    With `only_v1` it need not show on cgroup v2; with `only_newer`, not before containerd 1.7."""

    why: str
    reference: str
    ours: str
    only_v1: bool = False
    only_newer: bool = False

    def covers(self, expected, found):
        if self.only_newer and expected == found:
            return True
        if self.only_v1 and expected == found and os.path.exists(UNIFIED):
            return True
        return bool(re.fullmatch(self.reference, repr(expected), re.S)
                    and re.fullmatch(self.ours, repr(found), re.S))


_TEXT = "the same status; the text names what was tried"
_EXEC_EXIT = r"\('/tasks/exit', True, {'container_id': 'actor', 'id': 'x', [^}]*}\)"

DIFFERENCES = {
    "checkpoint": {
        "checkpoint": Difference(
            "checkpoints are not offered: a restored process would have no supervisor",
            r"\('UNKNOWN', .*criu.*\)",
            r"\('UNIMPLEMENTED', 'checkpoint: .*: not implemented'\)",
        ),
    },
    "created_and_deleted": {
        "deleted": Difference(
            "a created process is killed by its deletion, as both /tasks/exit events say; containerd's"
            " shim answers the deletion with 0 all the same",
            r"\(0, 'P1'\)",
            r"\(137, 'P1'\)",
        ),
        "events": Difference(
            "the same in /tasks/delete",
            r".*'exit_status': 137.*'/tasks/delete', True, {'container_id': 'actor', 'pid': 'P1',"
            r" 'exited_at': 'TIME'}\)\]",
            r".*'exit_status': 137.*'/tasks/delete', True, {'container_id': 'actor', 'pid': 'P1',"
            r" 'exit_status': 137, 'exited_at': 'TIME'}\)\]",
        ),
    },
    "exec_by_the_service": {
        "events": Difference(
            "a second Start of an exec is refused, and adds nothing; containerd's newer shims say its"
            " exit once more for it",
            rf".*{_EXEC_EXIT}, {_EXEC_EXIT}.*",
            rf"(?!.*{_EXEC_EXIT}, {_EXEC_EXIT}).*{_EXEC_EXIT}.*",
            only_newer=True,
        ),
    },
    "exec_that_fails": {
        "waited": Difference(
            "a program that could not be started has not succeeded", "0", "255"
        ),
        "after": Difference("and it waits for nothing but its deletion", "'CREATED'", "'STOPPED'"),
        "deleted": Difference("as what waited was told", "0", "255"),
    },
    "kill_errors": {
        "signal 200": Difference(
            "refused before the runtime is asked",
            r"\('UNKNOWN', '.*unable to signal init: invalid argument.*'\)",
            r"\('INVALID_ARGUMENT', 'signal 200: invalid argument'\)",
        ),
    },
    "log_files": {
        "unwritable": Difference(
            _TEXT,
            r"\(1, '', 'ctr: failed to create shim task: failed to create init process I/O: .*"
            r"no such file or directory: unknown'\)",
            r"\(1, '', 'ctr: failed to create shim task: failed to create init process I/O: .*"
            r"/proc/1/no/log.*No such file or directory\): unknown'\)",
        ),
    },
    "log_programs": {
        "no such program": Difference(
            _TEXT,
            r"\(1, '', 'ctr: failed to create shim task: .*/no/such/logger: no such file or"
            r" directory\\n\\n: unknown'\)",
            r"\(1, '', 'ctr: failed to create shim task: .*/no/such/logger.*: unknown'\)",
        ),
    },
    "update": {
        # v2 takes that limit, and the container is killed for it.
        "impossible": Difference(
            _TEXT,
            r"\('UNKNOWN', 'runc did not terminate successfully: exit status 1: (unable to set memory"
            r" limit to 1 .*)\\n: unknown'\)",
            r"\('UNKNOWN', 'OCI runtime update failed: unable to set memory limit to 1 .*: unknown'\)",
            only_v1=True,
        ),
        "nonsense": Difference(
            _TEXT,
            r"\('UNKNOWN', 'json: cannot unmarshal string into .*: unknown'\)",
            r"\('UNKNOWN', 'OCI runtime update failed: json: cannot unmarshal string into .*:"
            r" unknown'\)",
            only_v1=True,
        ),
    },
}
