"""Progress of whatever is counted: what is done, what is left, how long that takes."""

import contextlib
import operator
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import tqdm
from absl import logging

_LINE_SECONDS = 30.0
_Item = TypeVar("_Item")


class Progress:
    """On a terminal one bar that is redrawn; elsewhere (a log file, Slurm) plain lines.

    A line has the share that is done, the count, its rate and the time left.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        first: int = 0,
        name: str = "",
        say: Callable[[str], None] | None = None,
        line_seconds: float = _LINE_SECONDS,
    ):
        """Begins at `first` of `total`.

        Args:
          total: the count at the end.
          unit: what is counted, such as "frame".
          first: the count that was reached before.
          name: in front of every line; "" for none.
          say: gets the lines, and there is no bar: for what is a part of something that has one.
          line_seconds: between two lines of `advance`.
        """
        self._total, self._unit, self._first = total, unit, first
        self._prefix = f"{name}: " if name else ""
        self._has_bar = say is None and sys.stderr.isatty()
        self._say = say or (lambda text: logging.info("%s", text))
        self._line_seconds = line_seconds
        self._began = self._last_line = time.monotonic()
        self._bar = tqdm.tqdm(
            desc=name or None,
            total=total,
            initial=first,
            unit=unit,
            unit_scale=total >= 10_000,
            dynamic_ncols=True,
            smoothing=0.02,
            disable=not self._has_bar,
        )

    def advance(self, done: int) -> None:
        """Moves on to `done`; tells it at once on a terminal, elsewhere now and then."""
        if self._has_bar:
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._last_line >= self._line_seconds:
            self._last_line = now
            self._say(self._line(done, (done - self._first) / (now - self._began)))

    def report(self, done: int, rate: float, label: str, numbers: Mapping[str, float]) -> None:
        """Shows numbers with the count, after a label if it has one.

        Args:
          done: the count.
          rate: of late, per second.
          label: "" for none.
          numbers: by their names.
        """
        parts = [label] if label else []
        text = "  ".join(parts + [f"{name} {value:.4g}" for name, value in numbers.items()])
        self._bar.set_postfix_str(text)
        if not self._has_bar:
            self._say(f"{self._line(done, rate)}  {text}")

    def _line(self, done: int, rate: float) -> str:
        # What overshoots its length is at the end, not beyond it.
        total = max(self._total, done)
        left = time_left((total - done) / rate if rate else None)
        return (
            f"{self._prefix}{100 * done / max(1, total):5.1f} %  {self._unit} {done} of {total}  "
            f"{rate:.{0 if rate >= 10 else 2}f} {self._unit}s/s  {left} left"
        )

    def write(self, text: str) -> None:
        """Prints a line without breaking the bar."""
        if self._has_bar:
            tqdm.tqdm.write(text, file=sys.stderr)
        else:
            self._say(text)

    def close(self) -> None:
        """Leaves the bar as it is and goes to the next line."""
        self._bar.close()


def track(items: Iterable[_Item], unit: str, total: int | None = None) -> Iterator[_Item]:
    """The items, with their progress: one is done when the next is asked for.

    Args:
      items: whatever is to be done.
      unit: what an item is.
      total: how many there are; None: as they tell themselves.
    """
    total = operator.length_hint(items) if total is None else total
    with contextlib.closing(Progress(total, unit)) as progress:
        for done, item in enumerate(items, 1):
            yield item
            progress.advance(done)


def time_left(seconds: float | None) -> str:
    """A duration as M:SS or H:MM:SS; "?" if it is not known."""
    return "?" if seconds is None else tqdm.tqdm.format_interval(seconds)
