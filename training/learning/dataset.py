"""Recorded steps, from which an agent learns before it plays, or without playing at all."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from dm_env import specs

from core import checks, durable_files, finite
from replay import base as replay_base
from training.learning import replay_learner, seeds

_ROWS_AT_ONCE = 256
_COLUMNS = replay_base.Step._fields
_KINDS = (
    ("is_first", "b", "booleans"),
    ("is_last", "b", "booleans"),
    ("reward", "f", "floats"),
    ("discount", "f", "floats"),
    ("action", "iu", "integers"),
)


def save(path: Path, steps: replay_base.Step) -> None:
    """Writes steps [T, ...] of one environment, in their order; raises OSError.

    A file that was there is replaced in one step; one that is there is whole.

    Args:
      path: a file .npz.
      steps: as a replay takes them; the last one need not end its episode.
    """
    with durable_files.replacing(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **steps._asdict())


def load(path: Path, observation: specs.Array, num_actions: int) -> replay_base.Step:
    """Reads what `save` wrote, for an environment.

    Args:
      path: the file.
      observation: the environment's, which the steps must fit.
      num_actions: the environment's.

    Raises:
      ConfigError: if the file can't be read, or its steps don't fit the environment.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            columns: list[Any] = [found[name] for name in _COLUMNS]
            steps = replay_base.Step(*columns)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise _error(path, f"expected steps of scripts/collect.py: {error}") from error
    shape, dtype = (len(steps.action), *observation.shape), observation.dtype
    if steps.observation.shape != shape or steps.observation.dtype != dtype:
        found = f"{steps.observation.dtype}{list(steps.observation.shape)}"
        raise _error(path, f"expected observations {dtype}{list(shape)}, found {found}")
    if any(column.shape != shape[:1] for column in steps[1:]):
        raise _error(path, "expected columns of one length")
    for name, kind, words in _KINDS:
        found = getattr(steps, name)
        if found.dtype.kind not in kind:
            raise _error(path, f"expected {words} for {name}, found {found.dtype}")
    for name in ("observation", "reward", "discount"):
        try:
            finite.check(name, getattr(steps, name))
        except finite.NotFiniteError as error:
            raise _error(path, str(error)) from error
    if steps.discount.min(initial=0) < 0 or steps.discount.max(initial=0) > 1:
        raise _error(path, "expected discounts from 0 to 1")
    if steps.action.min(initial=0) < 0 or steps.action.max(initial=0) >= num_actions:
        raise _error(path, f"expected actions from 0 to {num_actions - 1}")
    return steps


def check_size(number: int, least: int, capacity: int, num_envs: int) -> None:
    """Raises ConfigError if so many steps are not enough to sample from, or too many to keep."""
    if number // num_envs * num_envs > capacity:
        raise checks.ConfigError(
            f"replay.capacity = {capacity}: expected at least the {number} steps of "
            "training.dataset"
        )
    if number < least:
        raise checks.ConfigError(
            f"training.dataset: {number} steps: expected at least {least}, for num_envs = "
            f"{num_envs} and the n steps of a transition"
        )


def fill(
    learner: replay_learner.Learner,
    state: replay_learner.LearnerState,
    steps: replay_base.Step,
) -> replay_learner.LearnerState:
    """Puts the same steps [T, ...] into the replay of every seed.

    Environment i gets the i-th part of them, in order; a remainder is left out.

    Args:
      learner: whose replay it is.
      state: with an empty replay.
      steps: as `load` returns them, of which the replay holds all.

    Raises:
      ConfigError: if there are too few to learn from.
    """
    num_rows = len(steps.action) // learner.num_envs
    for rows in _blocks(learner, steps, num_rows):
        state = learner.record(state, rows)
    state = _start_importance(learner, learner.cut(state))
    if int(np.min(np.asarray(learner.replay_size(state)))) == 0:
        raise checks.ConfigError(
            f"training.dataset: {len(steps.action)} steps: expected more, for num_envs = "
            f"{learner.num_envs} and the n steps of a transition"
        )
    return state


def _start_importance(
    learner: replay_learner.Learner, state: replay_learner.LearnerState
) -> replay_learner.LearnerState:
    """The state whose importance weights begin now: their exponent rises with what is played."""
    axes = learner.axes
    start = lambda s: s._replace(importance_start=learner.replay.num_added(s.replay))  # noqa: E731
    started = seeds.over_seeds(start, learner.num_seeds, (axes,), axes)
    # There may be no room for the replay twice.
    return jax.jit(started, donate_argnums=0)(state)


def _blocks(
    learner: replay_learner.Learner, steps: replay_base.Step, num_rows: int
) -> Iterator[Any]:
    """Steps as blocks [K, R, N, ...] with a limit on the rows R."""

    def arrange(column: Any) -> Any:
        used = column[: num_rows * learner.num_envs]
        rows = used.reshape((learner.num_envs, num_rows, *column.shape[1:])).swapaxes(0, 1)
        return np.broadcast_to(rows, (learner.num_seeds, *rows.shape))

    arranged = replay_base.Step(*map(arrange, steps))
    # The end of a part ends its episode.
    is_last: Any = np.array(arranged.is_last)
    is_first: Any = np.array(arranged.is_first)
    if num_rows:
        is_last[:, -1], is_first[:, 0] = True, True
    arranged = arranged._replace(is_last=is_last, is_first=is_first)
    for begin in range(0, num_rows, _ROWS_AT_ONCE):
        yield jax.tree.map(lambda x: x[:, begin : begin + _ROWS_AT_ONCE], arranged)  # noqa: B023


def _error(path: Path, text: str) -> checks.ConfigError:
    return checks.ConfigError(f"training.dataset = {str(path)!r}: {text}")
