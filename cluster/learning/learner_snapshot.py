"""What a learner's snapshot contains, and how a learner continues from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from cluster.accounts import actor_accounts, learner_counts
from cluster.learning import learner_log, trained_agent
from replay.reverb.sampling import priorities
from training.checkpoints import snapshot, state_arrays


class LearnerSnapshot:
    """Gathers the arrays of a learner's parts, and restores them."""

    def __init__(
        self,
        seed: int,
        agent: trained_agent.TrainedAgent,
        counts: learner_counts.LearnerCounts,
        accounts: actor_accounts.ActorAccounts,
        weights: priorities.SamplingWeights,
    ):
        """Reads and writes nothing yet.

        Args:
          seed: of the run, for error messages.
          agent: of the learner.
          counts: of the run.
          accounts: of the actors.
          weights: of the transitions.
        """
        self._seed = seed
        self._agent = agent
        self._counts = counts
        self._accounts = accounts
        self._weights = weights

    def restore(self, path: Path, counters: dict[str, int]) -> dict[str, np.ndarray]:
        """Restores the state and the counts; returns the rest, for `restore_log`.

        Args:
          path: of the snapshot.
          counters: the snapshot's.

        Raises:
          SnapshotError: it is damaged, or of another kind of run.
        """
        if set(counters) != set(learner_counts.LearnerCounts.NAMES):
            raise snapshot.SnapshotError(
                f"{path} is of a run of one process: continue it with scripts.train"
            )
        self._agent.restore(self._read_state(path))
        self._counts.counters = counters
        gathered = snapshot.read_arrays(path, "loop")
        self._accounts.set_state({"accounts": gathered.pop("accounts")})
        self._counts.report(self._accounts.frames)
        largest, mean = gathered.pop("weights").tolist()
        self._weights.restore(largest, mean)
        logging.info("continuing from %s", path)
        return gathered

    def _read_state(self, path: Path) -> Any:
        shapes = trained_agent.shapes_with_seed_axis(self._agent)
        arrays = snapshot.read_arrays(path, "learner")
        state_arrays.check_finite(arrays, f"{path}: learner", self._seed)
        return trained_agent.without_seed_axis(state_arrays.from_arrays(path, arrays, shapes))

    def contents(self, log: learner_log.LearnerLog) -> snapshot.Contents:
        """All that a learner needs to go on. Raises NotFiniteError."""
        learner = state_arrays.to_arrays(trained_agent.with_seed_axis(self._agent.state))
        state_arrays.check_finite(learner, "learner", self._seed)
        return snapshot.Contents(
            counters=dict(self._counts.counters),
            arrays={
                "learner": learner,
                "loop": {
                    "recent_returns": np.array(log.recent, np.float64),
                    "weights": np.array([self._weights.largest, self._weights.mean]),
                    **self._accounts.get_state(),
                    **log.recorder.gathered.get_state(),
                },
            },
        )


def restore_log(log: learner_log.LearnerLog, gathered: Mapping[str, np.ndarray]) -> None:
    """Restores what `LearnerSnapshot.restore` returns."""
    left = dict(gathered)
    log.recent.extend(left.pop("recent_returns").tolist())
    log.recorder.gathered.set_state(left)
