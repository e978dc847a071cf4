"""What a place for a run's rows must do."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np


class Sink(Protocol):
    """Takes rows of numbers as they come."""

    def add(self, log: str, row: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
        """Takes a row.

        Args:
          log: the kind of row, such as "train" (run_recorder.LOGS).
          row: values by column; `frames` and `seed` are among them.
          labels: what tells the row from others of the same frame and seed, such as a layer.
        """
        ...

    def close(self) -> None:
        """Returns when all rows are where they belong."""
        ...


def scalars(log: str, row: Mapping[str, Any], labels: Sequence[str]) -> Iterator[tuple[str, float]]:
    """The finite numbers of a row that are no counts, as (tag, value).

    A tag is the log, the labels, the column and the seed, such as "train/loss/seed_1". Rows of
    single episodes have none: their means are in those of "train".
    """
    if log == "episodes":
        return
    for name, value in row.items():
        if isinstance(value, float) and np.isfinite(value):
            yield "/".join([log, *labels, name, f"seed_{row['seed']}"]), value
