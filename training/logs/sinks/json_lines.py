"""Rows as JSON lines: the same rows as the CSV files', with types."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import durable_files
from training.logs import csv_log


class JsonLines:
    """A file for each log."""

    def __init__(self, path: Path, logs: Mapping[str, int], updates: int | None = None):
        """Opens `<log>.jsonl` in a run's directory.

        Args:
          path: the directory.
          logs: those to write, and where each stands: rows with more frames are dropped, as is a
            half-written one at the end.
          updates: where all of them stand, as in csv_log.
        """
        self._paths = {name: path / f"{name}.jsonl" for name in logs}
        for name, frames in logs.items():
            if self._paths[name].exists():
                _drop_after(self._paths[name], frames, updates)

    def add(self, log: str, row: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
        """Appends the row as one line; numbers that are not finite are null, as JSON has none."""
        del labels  # they are values as well
        line = json.dumps({name: _plain(value) for name, value in row.items()}, allow_nan=False)
        with self._paths[log].open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def close(self) -> None:
        """Nothing is left to do: a row is in its file at once."""


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def _drop_after(path: Path, frames: int, updates: int | None) -> None:
    """Rewrites the file without rows from after a moment."""
    kept = [
        f"{line}\n"
        for line in durable_files.whole_lines(path)
        if csv_log.is_kept(json.loads(line), "frames", frames, updates)
    ]
    durable_files.replace_text(path, "".join(kept))
