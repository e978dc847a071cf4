"""The part of a process's log that the user sees."""

import re
from collections.abc import Sequence

_MAX_LINE = 200
# What absl writes before a message: level and date, time, thread, file and line.
_PREFIX = re.compile(r"^[IWEF]\d{4} [\d:.]+ +\d+ \S+:\d+\] +")
_ERROR = "error: "


def last(lines: Sequence[str]) -> str:
    """The last line without absl's prefix, shortened to fit."""
    return _PREFIX.sub("", lines[-1])[:_MAX_LINE] if lines else "nothing written"


def error(lines: Sequence[str]) -> str:
    """The message that a script ended with (see scripts.command_line), or else the last line."""
    found = [line for line in lines if line.startswith(_ERROR)]
    return found[-1].removeprefix(_ERROR) if found else last(lines)
