"""What is gathered between two rows of train.csv: metrics of updates, and returns of episodes."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from agents import base as agents_base

METRIC = "metric_"
"""In front of a metric's name in the interval's saved state."""


class _Learned(NamedTuple):
    """Metrics [K] of one or several updates, and the run's counts when they were done."""

    frames: int
    updates: int
    metrics: Mapping[str, Any]
    weight: int


class LogInterval:
    """For K seeds; metrics stay on the device until asked for."""

    def __init__(self, num_seeds: int, first_seed: int, metric_names: Sequence[str]):
        """Gathers nothing yet.

        Args:
          num_seeds: K.
          first_seed: the number of the first, for messages.
          metric_names: of the updates' metrics.
        """
        self._num_seeds, self._first_seed = num_seeds, first_seed
        self._metric_names = metric_names
        # The checked ones are on the host, and finite.
        self._learned: list[_Learned] = []
        self._num_checked = 0
        self.returns: list[list[float]] = [[] for _ in range(num_seeds)]

    def learned(
        self, frames: int, updates: int, metrics: Mapping[str, jax.Array], weight: int = 1
    ) -> None:
        """Keeps metrics [K] of the updates that end at these counts, with a weight in means."""
        self._learned.append(_Learned(frames, updates, metrics, weight))

    def not_finite(self) -> str:
        """The first update that was not finite, for a message; "" if all were.

        Waits for the device, and fetches what it has not fetched before.
        """
        new = self._learned[self._num_checked :]
        fetched = jax.device_get([learned.metrics for learned in new])
        for i, (learned, metrics) in enumerate(zip(new, fetched), start=self._num_checked):
            self._learned[i] = learned._replace(metrics=metrics)
            for name in sorted(metrics, key=lambda name: name != "loss"):
                bad = np.flatnonzero(~np.isfinite(metrics[name]))
                if bad.size:
                    return (
                        f"{name} = {metrics[name][bad[0]]} at frame {learned.frames}, update "
                        f"{learned.updates}, {self._seeds(bad)}: expected a finite number"
                    )
            self._num_checked += 1
        return ""

    def take_means(self) -> dict[str, np.ndarray]:
        """Means [K] over the updates since the last call; nan where there was none.

        Learning rates are the last update's.
        """
        gathered, self._learned = self._learned, []
        self._num_checked = 0
        if not gathered:
            return dict.fromkeys(self._metric_names, np.full(self._num_seeds, np.nan))
        fetched = jax.device_get([learned.metrics for learned in gathered])
        mean = _mean_by([learned.weight for learned in gathered])
        lacking = set(self._metric_names) - set(fetched[0])
        means = {name: mean([m[name] for m in fetched]) for name in fetched[0]}
        means |= dict.fromkeys(lacking, np.full(self._num_seeds, np.nan))
        rates = {name: fetched[-1][name] for name in fetched[0] if agents_base.is_rate(name)}
        return {**means, **rates}

    def get_state(self) -> dict[str, np.ndarray]:
        """What was gathered, so that a resumed run's rows are whole."""
        gathered = jax.device_get([learned.metrics for learned in self._learned])
        none = np.full(self._num_seeds, np.nan)
        state = {
            f"{METRIC}{name}": np.array([metrics.get(name, none) for metrics in gathered])
            for name in self._metric_names
        }
        state["update_counts"] = np.array([learned.weight for learned in self._learned], np.int64)
        state["returns"] = np.concatenate([np.array(r, np.float64) for r in self.returns])
        return state | {"return_counts": np.array([len(returns) for returns in self.returns])}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores `get_state`'s result."""
        names = self._metric_names
        columns = zip(*(state[f"{METRIC}{name}"] for name in names))
        # Counts serve messages about non-finite metrics, which are never saved.
        weights = state.get("update_counts", itertools.repeat(1))  # earlier snapshots have none
        self._learned = [
            _Learned(0, 0, dict(zip(names, values)), int(weight))
            for values, weight in zip(columns, weights)
        ]
        self._num_checked = len(self._learned)
        parts = np.split(state["returns"], np.cumsum(state["return_counts"])[:-1])
        self.returns = [part.tolist() for part in parts]

    def _seeds(self, ks: np.ndarray) -> str:
        listed = ", ".join(str(self._first_seed + int(k)) for k in ks)
        return f"seed {listed}" if len(ks) == 1 else f"seeds {listed}"


def _mean_by(weights: Sequence[int]) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """The mean of arrays [K] with these weights."""
    if len(set(weights)) == 1:
        return lambda arrays: np.mean(arrays, axis=0)
    return lambda arrays: np.average(arrays, axis=0, weights=weights).astype(np.float32)
