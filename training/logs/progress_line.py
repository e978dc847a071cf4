"""The progress of a run on the terminal: a bar, or a line per log interval."""

import sys
from collections.abc import Mapping

import tqdm
from absl import logging


class Progress:
    """Frames, frames/s, time left, mean return and loss.

    On a terminal one bar that is redrawn; elsewhere (a log file, Slurm) a line at each report.
    """

    def __init__(self, num_frames: int, first_frames: int):
        """Begins at `first_frames` of `num_frames`."""
        self._num_frames = num_frames
        self._first_frames = first_frames
        self._is_terminal = sys.stderr.isatty()
        self._bar = tqdm.tqdm(
            total=num_frames,
            initial=first_frames,
            unit="frame",
            unit_scale=True,
            dynamic_ncols=True,
            smoothing=0.02,
            disable=not self._is_terminal,
        )

    def advance(self, frames: int) -> None:
        """Moves the bar to `frames`."""
        if self._is_terminal:
            self._bar.update(frames - self._bar.n)

    def report(
        self, frames: int, frames_per_second: float, label: str, numbers: Mapping[str, float]
    ) -> None:
        """Shows the numbers of a log interval, after a label if it has one."""
        parts = [label] if label else []
        text = "  ".join(parts + [f"{name} {value:.4g}" for name, value in numbers.items()])
        self._bar.set_postfix_str(text)
        if not self._is_terminal:
            # A run that overshoots its length is at the end, not beyond it.
            total = max(self._num_frames, frames)
            # Unknown while nothing is played yet.
            left = (
                tqdm.tqdm.format_interval((total - frames) / frames_per_second)
                if frames_per_second
                else "?"
            )
            logging.info(
                "%5.1f %%  frame %d of %d  %.0f frames/s  %s left  %s",
                100 * frames / total,
                frames,
                total,
                frames_per_second,
                left,
                text,
            )

    def write(self, text: str) -> None:
        """Prints a line without breaking the bar."""
        if self._is_terminal:
            tqdm.tqdm.write(text, file=sys.stderr)
        else:
            logging.info("%s", text)

    def close(self) -> None:
        """Leaves the bar as it is and goes to the next line."""
        self._bar.close()
