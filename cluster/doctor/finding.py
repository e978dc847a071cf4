"""What a check of the machine says."""

import enum
from collections.abc import Callable
from typing import NamedTuple


class Level(enum.Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warn"
    """A run starts, but something is slow, or can't be used."""
    FAILURE = "fail"
    """A run of the configuration does not start, or does not last."""


class Finding(NamedTuple):
    """The outcome of one check.

    Attributes:
      name: of the check.
      level: how bad it is.
      found: what there is.
      remedy: what to do about it; empty if nothing is to be done.
    """

    name: str
    level: Level
    found: str
    remedy: str = ""

    def line(self) -> str:
        """The finding on one line."""
        text = f"{self.level.value:<5} {self.name:<14} {self.found}"
        return " ".join(f"{text}; remedy: {self.remedy}".split("\n")) if self.remedy else text


def attempt(name: str, remedy: str, check: Callable[[], Finding]) -> Finding:
    """The check's finding; whatever it raises is a failure with this remedy."""
    try:
        return check()
    except Exception as error:  # the point of a check is that anything may be broken
        said = " ".join(str(error).split()) or type(error).__name__
        return Finding(name, Level.FAILURE, said, remedy)


def size(num_bytes: float) -> str:
    """A number of bytes as people say it, such as "7.2 GB"."""
    for unit in ("bytes", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} GB" if num_bytes < 100 else f"{num_bytes:.0f} GB"
