"""Which checkpoints of a run are compared with each other."""

import itertools
from collections.abc import Sequence

from core import checks
from training import run_settings

KINDS = ("next", "first", "visits")


def choose(
    which: str, saved: Sequence[int], settings: run_settings.RunSettings
) -> list[tuple[int, int]]:
    """The frames of each pair.

    Args:
      which: "next", "first" or "visits".
      saved: frames of all checkpoints, in order.
      settings: of the run.

    Raises:
      ConfigError: if there are not enough checkpoints, or none of a visit.
    """
    if which == "visits":
        return _visits(set(saved), settings)
    if len(saved) < 2:
        raise checks.ConfigError(f"run_dir: found {len(saved)} checkpoints, expected at least 2")
    return (
        list(itertools.pairwise(saved)) if which == "next" else [(saved[0], x) for x in saved[1:]]
    )


def _visits(saved: set[int], settings: run_settings.RunSettings) -> list[tuple[int, int]]:
    length = settings.frames_per_task
    if not length or settings.num_frames is None:
        raise checks.ConfigError("pairs = 'visits': expected a run of a sequence of tasks")
    pairs = [(start, start + length // 2) for start in range(0, settings.num_frames, length)]
    found = [pair for pair in pairs if saved.issuperset(pair)]
    if pairs[0] not in found:
        raise checks.ConfigError(
            f"pairs = 'visits': expected checkpoints at the beginning and the middle of a visit, "
            f"such as {pairs[0][0]} and {pairs[0][1]}, found {', '.join(map(str, sorted(saved)))}"
        )
    return found
