"""What a run writes down: CSV files, and TensorBoard events of the same numbers.

Beside frames and updates they hold:

* train.csv, a row per log interval and seed: returns, losses, speed, stage times, memory, and the
  schedule's learning rate, without the factor that a layer-wise norm_growth gives each layer;
  task and game, here, in episodes.csv and in evaluation.csv, tell where in a sequence the run is;
* episodes.csv, a row per finished training episode: seed, lane, return, length in frames;
* evaluation.csv, a row per evaluation, game that was played, and seed: mean, standard deviation,
  number of episodes;
* layers.csv, a row per measurement, seed and layer: norms, relative update, the layer's own
  learning rate, also over its norm and over that squared;
* norms_seed_<k>.csv, a row per measurement: the projected layers' norms (norm_growth.py).
"""

import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import tensorboardX

from core import finite
from envs import base as envs_base
from plasticity import metrics as plasticity_metrics
from plasticity import norm_growth, projection
from training import experiment as experiment_lib
from training.learning import update as update_lib
from training.logs import csv_log

KEEP_ROWS = 2**62
"""Stands for a moment after all rows of a file: they are facts, and none of them is dropped."""

LOGS: tuple[str, ...] = ("train", "episodes", "evaluation", "layers")


class _Learned(NamedTuple):
    """Metrics [K] of one or several updates, and the run's counts when they were done."""

    frames: int
    updates: int
    metrics: Mapping[str, Any]


class Recorder:
    """Writes a run's numbers; one that continues a run drops what came after its snapshot."""

    def __init__(
        self,
        path: Path,
        config: ml_collections.ConfigDict,
        logs: Mapping[str, int],
        metric_names: Sequence[str],
    ):
        """Opens the files of a run.

        Args:
          path: the run's directory.
          config: of the run.
          logs: which CSV files to write, of LOGS, and where each stands: rows with more frames
            are dropped.
          metric_names: of what the updates return.
        """
        self._config = config
        self._path = path
        self._learning_rates = experiment_lib.make_learning_rate(config)
        self._layer_rates = experiment_lib.make_layer_rates(config)
        self._projection = projection.ProjectionSettings.from_config(config.optimizer.projection)
        self._logs = {
            name: csv_log.CsvLog(path / f"{name}.csv", "frames", frames)
            for name, frames in logs.items()
        }
        frames = logs.get("train", 0)
        self._events = None
        if config.log.tensorboard:
            events_path = str(path / "tensorboard")
            self._events = tensorboardX.SummaryWriter(events_path, purge_step=frames or None)
        self._start = self._last_time = time.perf_counter()
        self._last_frames = frames
        self._metric_names = metric_names
        # Of the interval so far; the first so many are on the host, and finite.
        self._learned: list[_Learned] = []
        self._num_checked = 0
        # To find a name imports modules and builds a config: once for a task, not for an episode.
        self._games: dict[int, str] = {}
        self._returns: list[list[float]] = [[] for _ in range(config.num_seeds)]

    def learned(self, counters: Mapping[str, int], metrics: Mapping[str, jax.Array]) -> None:
        """Keeps metrics [K] of updates for the interval's mean; they stay on the device."""
        self._learned.append(_Learned(counters["frames"], counters["updates"], metrics))

    def not_finite(self) -> str:
        """The first update of the interval that was not finite, for a message; "" if all were.

        Waits for the device, and fetches what it has not fetched before.
        """
        new = self._learned[self._num_checked :]
        fetched = jax.device_get([learned.metrics for learned in new])
        for i, (learned, metrics) in enumerate(zip(new, fetched), start=self._num_checked):
            self._learned[i] = learned._replace(metrics=metrics)
            for name in update_lib.FINITE:
                bad = np.flatnonzero(~np.isfinite(metrics[name]))
                if bad.size:
                    return (
                        f"{name} = {metrics[name][bad[0]]} at frame {learned.frames}, update "
                        f"{learned.updates}, {self._seeds(bad)}: expected a finite number"
                    )
            self._num_checked += 1
        return ""

    def episode(
        self,
        counters: Mapping[str, int],
        episode: envs_base.Episode,
        where: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Records a training episode; `where` are columns that tell who played it."""
        k, lane = divmod(episode.lane, self._config.num_envs)
        finite.check("episode return", np.array(episode.episode_return))
        self._returns[k].append(episode.episode_return)
        self._logs["episodes"].append(
            {
                **self._moment(counters),
                "seed": self._seed(k),
                **where,
                "lane": lane,
                "return": episode.episode_return,
                "length_frames": episode.length_frames,
            }
        )

    def interval(
        self,
        counters: Mapping[str, int],
        replay_sizes: np.ndarray,
        stage_times: Mapping[str, float],
    ) -> dict[str, float]:
        """Records a log interval and returns the numbers that the seeds share or average.

        Args:
          counters: of the run.
          replay_sizes: transitions in the replay [K].
          stage_times: seconds, or milliseconds an iteration, by column.

        Raises:
          NotFiniteError: after writing the rows, if the learning rate is not finite.
        """
        means = self._mean_metrics()
        rate = self._learning_rate(counters)
        speed = self._speed(counters["frames"])
        for k, returns in enumerate(self._returns):
            row = {
                **self._moment(counters),
                "updates": counters["updates"],
                "seed": self._seed(k),
                "episodes": len(returns),
                "mean_return": float(np.mean(returns)) if returns else float("nan"),
                **{name: float(values[k]) for name, values in means.items()},
                "learning_rate": rate,
                "replay_size": int(replay_sizes[k]),
                **speed,
                **stage_times,
            }
            self._logs["train"].append(row)
            self._add_events("train", k, row)
            returns.clear()
        finite.check("learning rate", np.array(rate))
        losses = means["loss"][np.isfinite(means["loss"])]
        return {"loss": float(np.mean(losses)) if losses.size else float("nan"), **speed}

    def get_state(self) -> dict[str, np.ndarray]:
        """What was gathered since the last log interval, so that a resumed run's rows are whole."""
        gathered = jax.device_get([learned.metrics for learned in self._learned])
        lengths = [len(returns) for returns in self._returns]
        state = {f"metric_{n}": np.array([m[n] for m in gathered]) for n in self._metric_names}
        state["returns"] = np.concatenate([np.array(r, np.float64) for r in self._returns])
        return state | {"return_counts": np.array(lengths)}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores `get_state`'s result."""
        names = self._metric_names
        columns = zip(*(state[f"metric_{name}"] for name in names))
        # Their counts are for messages about those that are not finite, which is not saved.
        self._learned = [_Learned(0, 0, dict(zip(names, values))) for values in columns]
        self._num_checked = len(self._learned)
        parts = np.split(state["returns"], np.cumsum(state["return_counts"])[:-1])
        self._returns = [part.tolist() for part in parts]

    def _mean_metrics(self) -> dict[str, np.ndarray]:
        """Means [K] over the interval's updates; nan where there was none."""
        gathered, self._learned = [learned.metrics for learned in self._learned], []
        self._num_checked = 0
        if not gathered:
            nothing = np.full(self._config.num_seeds, np.nan)
            return dict.fromkeys(self._metric_names, nothing)
        fetched = jax.device_get(gathered)
        return {name: np.mean([m[name] for m in fetched], axis=0) for name in fetched[0]}

    def _speed(self, frames: int) -> dict[str, float]:
        now = time.perf_counter()
        seconds, played = now - self._last_time, frames - self._last_frames
        self._last_time, self._last_frames = now, frames
        return {
            "frames_per_second": self._config.num_seeds * played / seconds,
            "elapsed_seconds": now - self._start,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }

    def evaluation(
        self, counters: Mapping[str, int], k: int, game: str, episodes: Sequence[envs_base.Episode]
    ) -> float:
        """Records an evaluation of seed k on a game and returns its mean return."""
        returns = [episode.episode_return for episode in episodes]
        finite.check("evaluation return", np.array(returns, np.float64))
        row = {
            **self._moment(counters),
            "game": game,
            "seed": self._seed(k),
            "episodes": len(returns),
            "mean_return": float(np.mean(returns)),
            "std_return": float(np.std(returns)),
            "mean_length_frames": float(np.mean([e.length_frames for e in episodes])),
        }
        self._logs["evaluation"].append(row)
        is_sequence = "frames_per_game" in self._config.environment
        group = f"evaluation/{game}" if is_sequence else "evaluation"
        self._add_events(group, k, row)
        return row["mean_return"]

    def last_evaluation(self) -> int:
        """At how many frames the last evaluation of the run was; 0 if there was none."""
        path = self._path / "evaluation.csv"
        rows = csv_log.read_rows(path) if path.exists() else []
        return max((int(row["frames"]) for row in rows), default=0)

    def layers(
        self, counters: Mapping[str, int], measured: Mapping[str, Mapping[str, np.ndarray]]
    ) -> None:
        """Records what was measured of every layer: {quantity: {layer: [K]}}."""
        updates = counters["schedule_updates"]
        rates = {layer: self._layer_rates(updates, layer) for layer in measured["norm"]}
        for k in range(self._config.num_seeds):
            for layer, rate in rates.items():
                numbers = {name: float(values[layer][k]) for name, values in measured.items()}
                for name, number in numbers.items():
                    finite.check(f"{name} of layer {layer!r}", np.array(number))
                row = {
                    "frames": counters["frames"],
                    "updates": counters["updates"],
                    "seed": self._seed(k),
                    "layer": layer,
                    **numbers,
                    "learning_rate": rate,
                    "learning_rate_over_norm": _ratio(rate, numbers["norm"]),
                    "learning_rate_over_norm2": _ratio(rate, numbers["norm"] ** 2),
                }
                self._logs["layers"].append(row)
                self._add_events(f"layers/{layer}", k, row)

    def norms(self, params: Any, updates: int) -> None:
        """Appends the projected layers' norms, in the format that norm_growth reads.

        Args:
          params: with an axis over the seeds, [K, ...].
          updates: how many were done.
        """
        for k in range(self._config.num_seeds):
            of_seed = jax.tree.map(lambda x: x[k], params)  # noqa: B023
            chosen = projection.selected_layers(of_seed, self._projection)
            norms = jax.device_get(plasticity_metrics.layer_norms(of_seed, chosen))
            for layer, norm in norms.items():
                finite.check(f"norm of layer {layer!r}", norm)
            path = str(self._path / f"norms_seed_{self._seed(k)}.csv")
            norm_growth.append_row(path, updates, norms)

    def _moment(self, counters: Mapping[str, int]) -> dict[str, Any]:
        """When in the run, and in which of a sequence's games."""
        task = counters["task"]
        if task not in self._games:
            single = envs_base.task_config(self._config.environment, task)
            self._games[task] = envs_base.task_name(single)
        return {"frames": counters["frames"], "task": task, "game": self._games[task]}

    def _learning_rate(self, counters: Mapping[str, int]) -> float:
        return float(np.asarray(self._learning_rates(counters["schedule_updates"])))

    def _seed(self, k: int) -> int:
        """The number by which the k-th seed of the run is known."""
        return self._config.seed + k

    def _seeds(self, ks: np.ndarray) -> str:
        listed = ", ".join(str(self._seed(int(k))) for k in ks)
        return f"seed {listed}" if len(ks) == 1 else f"seeds {listed}"

    def _add_events(self, group: str, k: int, row: Mapping[str, Any]) -> None:
        if self._events is None:
            return
        for name, value in row.items():
            if isinstance(value, float) and np.isfinite(value):
                tag = f"{group}/{name}/seed_{self._seed(k)}"
                self._events.add_scalar(tag, value, row["frames"])

    def close(self) -> None:
        """Flushes the events."""
        if self._events is not None:
            self._events.close()


def _ratio(x: float, y: float) -> float:
    return x / y if y else 0.0
