"""Exit codes of the programs: whether the same command may be given again, and to what avail."""

FINISHED = 0
"""All is done."""

FAILED = 1
"""It can't go on: Python's own code for an error, and that of a launch whose role keeps dying."""

REFUSED = 2
"""A bad flag, key or value, or a file that can't be used; the message says which."""

STOPPED = 3
"""Asked to end before its end; the same command continues."""

NOT_FINITE = 4
"""A number was not finite: the run can't go on, and ends alike if it is started again."""

RUNS_FAILED = 5
"""Of a sweep: some runs failed, and all others are finished."""

HELD = 6
"""Of a role: another process, perhaps one about to end, does its work; it may be started again."""
