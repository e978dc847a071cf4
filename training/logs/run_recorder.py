"""What a run records: CSV files, and the same numbers elsewhere if asked (training/logs/sinks).

With frames and updates, they hold:

* train.csv, a row per log interval and seed: returns, means of the updates' metrics (losses, the
  learning rate used), speed, stage times, memory; task and game, here, in episodes.csv and in
  evaluation.csv, say where in a sequence the run is;
* episodes.csv, a row per finished training episode: seed, environment, return, length in frames;
* evaluation.csv, a row per evaluation, game played and seed: mean, standard deviation, number of
  episodes;
* layers.csv, a row per measurement, seed and layer: norms, relative update, the layer's own
  learning rate, also over its norm and its norm squared;
* units.csv, ranks.csv, a row per measurement, seed and layer; network.csv, a row per measurement
  and seed (docs/metrics.md);
* norms_seed_<k>.csv, a row per measurement: the projected layers' norms (norm_growth.py).
"""

import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from core import finite
from core import settings as settings_lib
from envs import base as envs_base
from plasticity import norm_growth
from training import run_settings
from training.logs import csv_log, interval
from training.logs.sinks import base, csv_files, json_lines, tensorboard, weights_and_biases

KEEP_ROWS = 2**62
"""A moment after all rows of a file: they are facts, so none is dropped."""

LOGS: tuple[str, ...] = ("train", "episodes", "evaluation", "layers", "units", "ranks", "network")


class Recorder:
    """Writes a run's numbers; one that continues a run drops rows after its snapshot."""

    def __init__(
        self,
        path: Path,
        settings: run_settings.RunSettings,
        logs: Mapping[str, int],
        metric_names: Sequence[str],
        updates: int | None = None,
    ):
        """Opens the files of a run.

        Args:
          path: the run's directory.
          settings: of the run.
          logs: which kinds of rows to write, of LOGS, and where each stands: rows with more frames
            are dropped.
          metric_names: of the updates' metrics.
          updates: of the run, if rows with more are to be dropped too.
        """
        self._settings = settings
        self._path = path
        self._sinks = list(_open_sinks(path, settings, logs, updates))
        self._last_time = time.perf_counter()
        self._start = self._last_time - (_elapsed_before(path) if "train" in logs else 0.0)
        self._last_frames = logs.get("train", 0)
        self.gathered = interval.LogInterval(settings.num_seeds, settings.seed, metric_names)

    def learned(
        self, counters: Mapping[str, int], metrics: Mapping[str, jax.Array], weight: int = 1
    ) -> None:
        """Keeps metrics [K] of updates for the interval's mean; they stay on the device."""
        self.gathered.learned(counters["frames"], counters["updates"], metrics, weight)

    def episode(
        self,
        counters: Mapping[str, int],
        episode: envs_base.Episode,
        where: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Records a training episode; `where`: columns that say who played it."""
        k, env_id = divmod(episode.env_id, self._settings.num_envs)
        finite.check("episode return", np.array(episode.episode_return))
        self.gathered.returns[k].append(episode.episode_return)
        self._add(
            "episodes",
            {
                **self._moment(counters),
                "seed": self._seed(k),
                **where,
                "env_id": env_id,
                "return": episode.episode_return,
                "length_frames": episode.length_frames,
            },
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
        """
        means = self.gathered.take_means()
        speed = self._speed(counters["frames"])
        for k, returns in enumerate(self.gathered.returns):
            row = {
                **self._moment(counters),
                "updates": counters["updates"],
                "seed": self._seed(k),
                "episodes": len(returns),
                "mean_return": float(np.mean(returns)) if returns else float("nan"),
                **{name: float(values[k]) for name, values in means.items()},
                "replay_size": int(replay_sizes[k]),
                **speed,
                **stage_times,
            }
            self._add("train", row)
            returns.clear()
        losses = means["loss"][np.isfinite(means["loss"])]
        return {"loss": float(np.mean(losses)) if losses.size else float("nan"), **speed}

    def _speed(self, frames: int) -> dict[str, float]:
        now = time.perf_counter()
        seconds, played = now - self._last_time, frames - self._last_frames
        self._last_time, self._last_frames = now, frames
        return {
            "frames_per_second": self._settings.num_seeds * played / seconds,
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
        is_sequence = envs_base.is_sequence(self._settings.environment)
        self._add("evaluation", row, [game] if is_sequence else [])
        return row["mean_return"]

    def last_evaluation(self) -> int:
        """Frames at the run's last evaluation; -1 if there was none."""
        path = self._path / "evaluation.csv"
        rows = csv_log.read_rows(path) if path.exists() else []
        return max((int(row["frames"]) for row in rows), default=-1)

    def layers(
        self, counters: Mapping[str, int], measured: Mapping[str, Mapping[str, np.ndarray]]
    ) -> None:
        """Records the measurements of every layer: {quantity: {layer: [K]}}."""
        for k, layer, numbers in _by_layer(measured, self._settings.num_seeds):
            rate, norm = numbers["learning_rate"], numbers["norm"]
            numbers["learning_rate_over_norm"] = _ratio(rate, norm)
            numbers["learning_rate_over_norm2"] = _ratio(rate, norm**2)
            lacking = dict.fromkeys(measured, float("nan"))
            self._add_measured("layers", counters, k, {"layer": layer}, {**lacking, **numbers})

    def probe(
        self,
        log: str,
        counters: Mapping[str, int],
        measured: Mapping[str, Mapping[str, np.ndarray]],
    ) -> None:
        """Records what was measured on the probe batch: {quantity: {layer: [K]}}.

        Args:
          log: "units" or "ranks".
          counters: of the run.
          measured: a quantity that a layer lacks is left empty in its row.
        """
        for k, layer, numbers in _by_layer(measured, self._settings.num_seeds):
            row = {name: numbers.get(name, float("nan")) for name in measured}
            self._add_measured(log, counters, k, {"layer": layer}, row)

    def network(self, counters: Mapping[str, int], measured: Mapping[str, np.ndarray]) -> None:
        """Records scalars of whole networks: {quantity: [K]}."""
        for k in range(self._settings.num_seeds):
            numbers = {name: float(values[k]) for name, values in measured.items()}
            for name, number in numbers.items():
                finite.check(f"{name} of the network", np.array(number))
            self._add_measured("network", counters, k, {}, numbers)

    def _add_measured(
        self,
        log: str,
        counters: Mapping[str, int],
        k: int,
        where: Mapping[str, str],
        numbers: Mapping[str, float],
    ) -> None:
        row = {
            "frames": counters["frames"],
            "updates": counters["updates"],
            "seed": self._seed(k),
            **where,
            **numbers,
        }
        self._add(log, row, list(where.values()))

    def norms(self, norms: Sequence[Mapping[str, jax.Array]], updates: int) -> None:
        """Appends the projected layers' norms, in the format that norm_growth reads.

        Args:
          norms: of each seed, by layer.
          updates: how many were done.
        """
        for k, of_seed in enumerate(jax.device_get(list(norms))):
            for layer, norm in of_seed.items():
                finite.check(f"norm of layer {layer!r}", norm)
            path = str(self._path / f"norms_seed_{self._seed(k)}.csv")
            norm_growth.append_row(path, updates, of_seed)

    def _moment(self, counters: Mapping[str, int]) -> dict[str, Any]:
        """When in the run, and in which of a sequence's games."""
        task = envs_base.task(self._settings.environment, counters["task"])
        return {
            "frames": counters["frames"],
            "task": counters["task"],
            "game": envs_base.task_name(task),
        }

    def _seed(self, k: int) -> int:
        """The number of the run's k-th seed."""
        return self._settings.seed + k

    def _add(self, log: str, row: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
        for sink in self._sinks:
            sink.add(log, row, labels)

    def close(self) -> None:
        """Waits until all rows are where they belong."""
        for sink in self._sinks:
            sink.close()


def _open_sinks(
    path: Path,
    settings: run_settings.RunSettings,
    logs: Mapping[str, int],
    updates: int | None,
) -> Iterator[base.Sink]:
    """The places where rows go; the CSV files come first, as they are the record."""
    yield csv_files.CsvFiles(path, logs, updates)
    if settings.log.json_lines:
        yield json_lines.JsonLines(path, logs, updates)
    if settings.log.tensorboard:
        yield tensorboard.TensorBoard(path, logs.get("train", 0))
    if settings.log.wandb != "off":
        part = "training" if "train" in logs else "evaluation"
        config = settings_lib.to_config(settings).to_dict()
        yield weights_and_biases.WeightsAndBiases(
            path, settings.log.wandb, part, settings.name, config
        )


def _elapsed_before(path: Path) -> float:
    """Seconds that the starts before took, up to the row that this one goes on from."""
    train = path / "train.csv"
    rows = csv_log.read_rows(train) if train.exists() else []
    return float(rows[-1].get("elapsed_seconds", 0)) if rows else 0.0


def _ratio(x: float, y: float) -> float:
    return x / y if y else 0.0


def _by_layer(
    measured: Mapping[str, Mapping[str, np.ndarray]], num_seeds: int
) -> Iterator[tuple[int, str, dict[str, float]]]:
    """(seed's place, layer, its quantities), all of them finite."""
    layers = dict.fromkeys(layer for values in measured.values() for layer in values)
    for k in range(num_seeds):
        for layer in layers:
            numbers = {
                name: float(values[layer][k])
                for name, values in measured.items()
                if layer in values
            }
            for name, number in numbers.items():
                finite.check(f"{name} of layer {layer!r}", np.array(number))
            yield k, layer, numbers
