"""Rows as CSV files: the record of a run, which all programs read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.logs import csv_log


class CsvFiles:
    """A file for each log."""

    def __init__(self, path: Path, logs: Mapping[str, int], updates: int | None = None):
        """Opens `<log>.csv` in a run's directory.

        Args:
          path: the directory.
          logs: those to write, and where each stands: rows with more frames are dropped.
          updates: where all of them stand, as in csv_log.
        """
        self._logs = {
            name: csv_log.CsvLog(path / f"{name}.csv", "frames", frames, updates)
            for name, frames in logs.items()
        }

    def add(self, log: str, row: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
        """Appends the row; its columns are those of the file."""
        del labels  # they are columns as well
        self._logs[log].append(row)

    def close(self) -> None:
        """Nothing is left to do: a row is in its file at once."""
