"""Append-only CSV files that a resumed run continues from its snapshot on."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import checks, durable_files


class CsvLog:
    """One CSV file; the first row's keys are its columns. Every row reaches the file at once."""

    def __init__(self, path: Path, key: str, last: int, updates: int | None = None):
        """Opens the file, dropping rows that come after the restored moment.

        Args:
          path: the file; need not exist.
          key: the integer column that orders the rows, e.g. "frames".
          last: rows whose key is larger are dropped, as are half-written ones at the end.
          updates: rows with more updates are dropped too, if they have that column; before a run
            plays, all its rows have the same frames. None: whatever they have.
        """
        self._path = path
        self._columns = _drop_after(path, key, last, updates) if path.exists() else []

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes a row; its keys must be the file's columns, in any order.

        Raises:
          ValueError: if they are not.
        """
        if not self._columns:
            self._columns = list(row)
            self._write(self._columns)
        if set(row) != set(self._columns):
            different = sorted(set(row) ^ set(self._columns))
            raise ValueError(f"{self._path}: the row and the columns differ in {different}")
        self._write([row[column] for column in self._columns])

    def _write(self, values: list[Any]) -> None:
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerow(values)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The complete rows of a CSV file; half-written ones are left out."""
    rows = list(csv.reader(durable_files.whole_lines(path)))
    header = rows[0] if rows else []
    return [dict(zip(header, row)) for row in rows[1:] if len(row) == len(header)]


def without_row(path: Path, asked: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of several measurements that a file has no row of yet.

    Args:
      path: the CSV file; need not exist.
      asked: of each measurement the columns, the same for all, that say which it is.

    Raises:
      ConfigError: if the file lacks one of these columns, as one of an older version may.
    """
    rows = read_rows(path) if path.exists() else []
    columns = list(asked[0]) if asked else []
    if rows and not rows[0].keys() >= set(columns):
        raise checks.ConfigError(f"{path}: expected columns {', '.join(columns)}; move it away")
    key = lambda row: tuple(str(row[column]) for column in columns)  # noqa: E731
    done = set(map(key, rows))
    return [row for row in asked if key(row) not in done]


def is_kept(row: Mapping[str, Any], key: str, last: int, updates: int | None) -> bool:
    """Whether a row is not from after a moment; the arguments are those of a CsvLog."""
    is_late = updates is not None and int(row.get("updates", 0)) > updates
    return int(row[key]) <= last and not is_late


def _drop_after(path: Path, key: str, last: int, updates: int | None) -> list[str]:
    """Rewrites the file without rows from after a moment; returns its columns."""
    rows = read_rows(path)
    kept = [row for row in rows if is_kept(row, key, last, updates)]
    if not kept:
        path.unlink()
        return []
    text = io.StringIO()
    writer = csv.DictWriter(text, list(kept[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(kept)
    durable_files.replace_text(path, text.getvalue())
    return list(kept[0])
