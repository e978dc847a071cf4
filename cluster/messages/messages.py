"""Messages between the roles, as arrays of items in the replay server's small tables.

Nothing that is read here is trusted: a wrong number of arrays, a wrong type or shape, or an
impossible number raises WireError.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from core import finite
from replay.reverb import wire

# An actor that is restarted goes on with its journal; see replay/reverb/writing/actor_journal.py.
JournalId = int

# Of Parameters, before the arrays: version, frames, updates, task.
_NUM_COUNTS = 4


class Announcement(NamedTuple):
    """Where the run stands, as the learner publishes it.

    Attributes:
      frames, updates: of the whole run.
      task: of a sequence, from 0: the one to play.
      finished: whether nothing more is to be played.
      version: of the newest parameters that were published.
      weight: the sampling weight of new transitions.
      confirmed: by journal, its last record that the newest checkpoint has.
      episodes: by journal, how many of its episodes the learner has recorded.
      limits: by journal, the frames up to which its actor may play.
    """

    frames: int
    updates: int
    task: int
    finished: bool
    version: int
    weight: float
    confirmed: Mapping[JournalId, int]
    episodes: Mapping[JournalId, int]
    limits: Mapping[JournalId, int]

    def is_end(self, num_frames: int) -> bool:
        """Whether a run of `num_frames` is finished; a finished run may go on with more."""
        return self.finished and self.frames >= num_frames

    def encode(self) -> list[np.ndarray]:
        """As arrays: integers, the weight, rows of [journal, record, episodes, limit]."""
        counts = (self.frames, self.updates, self.task, self.finished, self.version)
        by_journal = (self.confirmed, self.episodes, self.limits)
        journal_ids = sorted(set().union(*by_journal))
        rows = [[i, *(numbers.get(i, 0) for numbers in by_journal)] for i in journal_ids]
        return [
            np.array(counts, np.int64),
            np.array(self.weight, np.float64),
            np.array(rows, np.int64).reshape(-1, 4),
        ]

    @classmethod
    def decode(cls, arrays: Sequence[np.ndarray]) -> "Announcement":
        """The announcement of `encode`'s arrays; raises WireError."""
        _check("announcement", arrays, [(np.int64, (5,)), (np.float64, ()), (np.int64, (None, 4))])
        _check_counts("announcement", arrays[0], arrays[2])
        if not 0 <= arrays[1] < np.inf:
            raise wire.WireError(
                f"announcement with weight {arrays[1]}: expected a finite number >= 0"
            )
        frames, updates, task, finished, version = arrays[0].tolist()
        rows = arrays[2].tolist()
        return cls(
            frames=frames,
            updates=updates,
            task=task,
            finished=bool(finished),
            version=version,
            weight=float(arrays[1]),
            confirmed={i: record for i, record, _, _ in rows},
            episodes={i: episodes for i, _, episodes, _ in rows},
            limits={i: limit for i, _, _, limit in rows},
        )


class Parameters(NamedTuple):
    """The network's parameters and when the learner had them.

    Attributes:
      version: of this publication alone. The counts don't identify it: a network that is reset at
        the beginning of a task has those of the one before.
      frames, updates: the learner's counts then.
      task: of a sequence, from 0.
      params: a pytree of arrays.
    """

    version: int
    frames: int
    updates: int
    task: int
    params: Any

    def encode(self) -> list[np.ndarray]:
        """As arrays: the counts, then the leaves in jax.tree.leaves' order.

        Raises:
          NotFiniteError: a parameter is not finite.
        """
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(self.params)]
        for leaf in leaves:
            finite.check(f"parameters at update {self.updates}", leaf)
        return [np.array(self[:_NUM_COUNTS], np.int64), *leaves]

    @classmethod
    def decode(cls, arrays: Sequence[np.ndarray], shapes: Any) -> "Parameters":
        """The parameters of `encode`'s arrays.

        Args:
          arrays: as received.
          shapes: the parameters' shapes and types as this process's configuration has them.

        Raises:
          WireError: they differ (a process runs another configuration or version), or one is not
            finite.
        """
        leaves, structure = jax.tree.flatten(shapes)
        expected = [(leaf.dtype, leaf.shape) for leaf in leaves]
        _check("parameters", arrays, [(np.int64, (_NUM_COUNTS,)), *expected])
        _check_counts("parameters", arrays[0])
        if not all(np.isfinite(array).all() for array in arrays):
            raise wire.WireError("parameters with a number that is not finite")
        params = jax.tree.unflatten(structure, arrays[1:])
        return cls._make([*arrays[0].tolist(), params])


class EpisodeReport(NamedTuple):
    """A finished training episode.

    Attributes:
      env_id: of the actor.
      episode_return: unclipped.
      length_frames: in the emulator's frames.
      task: of a sequence, from 0, in which it was played.
    """

    env_id: int
    episode_return: float
    length_frames: int
    task: int = 0


class Report(NamedTuple):
    """What an actor has done, all counts from its journal's beginning.

    Attributes:
      journal_id: of its journal.
      actor: its index.
      frames: of steps that are in the journal.
      transitions: those that are in the journal, or were.
      task: the one it plays; all that the journal has of earlier ones is confirmed.
      confirmed: the last record of the journal up to which all are confirmed.
      incarnation: of the server that has confirmed them; see `short_incarnation`.
      first_episode: the number, from 0, of the first of `episodes`.
      episodes: those the learner has not acknowledged yet.
    """

    journal_id: JournalId
    actor: int
    frames: int
    transitions: int
    task: int
    confirmed: int
    incarnation: int
    first_episode: int
    episodes: Sequence[EpisodeReport]

    def encode(self) -> list[np.ndarray]:
        """As arrays: integers, and a row per episode."""
        rows = np.array(list(self.episodes), np.float64).reshape(-1, 4)
        return [np.array(self[:8], np.int64), rows]

    @classmethod
    def decode(cls, arrays: Sequence[np.ndarray]) -> "Report":
        """The report of `encode`'s arrays; raises WireError."""
        _check("report", arrays, [(np.int64, (8,)), (np.float64, (None, 4))])
        # The task is -1 before the first.
        _check_counts("report", np.delete(arrays[0], 4), arrays[0][4:5] + 1)
        if not np.all(np.isfinite(arrays[1])) or np.any(arrays[1][:, [0, 2, 3]] < 0):
            raise wire.WireError("report: an episode with numbers that are none")
        rows = arrays[1].tolist()
        episodes = [EpisodeReport(int(i), total, int(n), int(task)) for i, total, n, task in rows]
        return cls._make([*arrays[0].tolist(), episodes])


class EvaluatorReport(NamedTuple):
    """What the evaluator has, sent through the same table as the actors' reports.

    Attributes:
      version, frames: of the newest parameters fetched.
    """

    version: int
    frames: int

    def encode(self) -> list[np.ndarray]:
        """As an array of integers."""
        return [np.array(self, np.int64)]

    @classmethod
    def decode(cls, arrays: Sequence[np.ndarray]) -> "EvaluatorReport":
        """The report of `encode`'s array; raises WireError."""
        _check("evaluator's report", arrays, [(np.int64, (2,))])
        _check_counts("evaluator's report", arrays[0])
        return cls._make(arrays[0].tolist())


def decode_report(arrays: Sequence[np.ndarray]) -> Report | EvaluatorReport:
    """An actor's report, or the evaluator's, which has one array; raises WireError."""
    return EvaluatorReport.decode(arrays) if len(arrays) == 1 else Report.decode(arrays)


def short_incarnation(incarnation: int) -> int:
    """As much of a server's 128 bits as fits an int64: enough to tell two apart."""
    return incarnation & (2**63 - 1)


def _check(
    what: str, arrays: Sequence[np.ndarray], expected: Sequence[tuple[Any, tuple[int | None, ...]]]
) -> None:
    """Raises WireError unless the arrays have the types and shapes; None is any size."""
    if len(arrays) != len(expected):
        raise wire.WireError(f"{what} of {len(arrays)} arrays: expected {len(expected)}")
    for i, (array, (dtype, shape)) in enumerate(zip(arrays, expected)):
        fits = len(array.shape) == len(shape) and all(
            size in (None, found) for size, found in zip(shape, array.shape)
        )
        if array.dtype != dtype or not fits:
            raise wire.WireError(
                f"{what}: array {i} is {array.dtype}{list(array.shape)}, expected "
                f"{np.dtype(dtype)}{list(shape)}: do all processes run the same configuration?"
            )


def _check_counts(what: str, *counts: np.ndarray) -> None:
    for numbers in counts:
        if np.any(numbers < 0):
            raise wire.WireError(f"{what} with {numbers.min()}: expected whole numbers >= 0")


def latest(client: wire.Client, table: str, timeout_s: float) -> tuple[np.ndarray, ...]:
    """The arrays of the only item of a table of kind "latest".

    Raises:
      WireTimeoutError: there is none yet, or the server does not answer.
      WireError: the connection broke.
    """
    # A new sampler: one kept open would have prefetched what is out of date by now.
    with wire.Sampler(client, table, max_in_flight=1) as sampler:
        return sampler.take(1, timeout_s, ask_more=False)[0].columns
