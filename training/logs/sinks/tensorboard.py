"""Rows as TensorBoard events."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorboardX

from training.logs.sinks import base


class TensorBoard:
    """Events by frames, in `tensorboard/` of a run's directory."""

    def __init__(self, path: Path, frames: int):
        """Opens a file of events.

        Args:
          path: the run's directory.
          frames: where the run stands; TensorBoard drops what an earlier start wrote beyond that.
        """
        self._writer = tensorboardX.SummaryWriter(
            # The first step that is dropped; rows of this frame are not written again.
            str(path / "tensorboard"),
            purge_step=frames + 1 if frames > 0 else None,
            # A file is named after the second; the processes of a run begin together.
            filename_suffix=f".{os.getpid()}",
        )

    def add(self, log: str, row: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
        """Writes the row's numbers, but for counts."""
        for tag, value in base.scalars(log, row, labels):
            self._writer.add_scalar(tag, value, row["frames"])

    def close(self) -> None:
        """Flushes the events."""
        self._writer.close()
