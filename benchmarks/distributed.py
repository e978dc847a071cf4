"""Training speed of a distributed run on this machine against one process, in turn.

python -m benchmarks.distributed --config=configs/data_efficient_nap.py:pong --actors=1,2 \
    --seconds=60 --repeats=3 --output=distributed.json

Each turn is a run of its own, as a user starts it, timed once it has begun to learn. The order is
swapped every repeat. Two amounts of work: with updates as often as the config has them, and with
rare ones, where the actors are what takes time. Absolute speeds are this machine's; the ratio,
taken within each repeat, is the result.
"""

import contextlib
import csv
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from benchmarks import launched_run, machine
from cluster.supervision import processes
from core import checks, progress
from scripts import command_line

_DEFAULT = "configs/data_efficient_nap.py:pong"
_CONFIG = config_flags.DEFINE_config_file(
    "config", _DEFAULT, "As of scripts.train and scripts.launch."
)
_ACTORS = flags.DEFINE_list("actors", ["1", "2"], "Of each distributed run that is measured.")
_SECONDS = flags.DEFINE_float("seconds", 60.0, "Of a turn.", lower_bound=1.0)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Turns of each.", lower_bound=1)
_RARE = flags.DEFINE_integer("rare_update_period_frames", 64, "Where updates are rare.", 1)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")

_ALONE = "one process"
_NEVER = 10**9
_START_S = 400.0
# Before the window: the first ones include compilation, and actors that are ahead.
_SETTLE_UPDATES, _SETTLE_FRAMES = 30, 1_200


class Moment(NamedTuple):
    """A row of train.csv: counts of the run, and seconds since the process began."""

    frames: int
    updates: int
    seconds: float


class Turn(NamedTuple):
    """What a run did in its window.

    Attributes:
      frames, updates: done in it.
      seconds: how long it was.
      disturbance: the share of the cores that other processes had; nan where unknown.
    """

    frames: int
    updates: int
    seconds: float
    disturbance: float


class _Run:
    """A run under way, until the block's end."""

    def __init__(self, directory: Path, num_actors: int, changes: Mapping[str, Any]):
        file, given = _given()
        values = {"config": file, "run_dir": directory}
        if num_actors:
            values["actors"] = num_actors
        values |= {f"config.{key}": value for key, value in {**changes, **given}.items()}
        script = "scripts.launch" if num_actors else "scripts.train"
        self._directory = directory
        self._log = directory.with_name(f"{directory.name}.log")
        self._command = [sys.executable, "-m", script]
        self._command += [f"--{key}={value}" for key, value in values.items()]

    def __enter__(self) -> "_Run":
        self._process = processes.Process(self._command, self._log)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send(signal.SIGKILL)
        self._process.wait()
        launched_run.wait_until(lambda: not self._processes(), 20)

    def measure(self, seconds: float) -> Turn:
        """What it does in about `seconds`, after it has begun to learn."""
        begin = self._wait_for(lambda moment: moment.updates >= _SETTLE_UPDATES)
        first = begin.frames + _SETTLE_FRAMES
        settled = self._wait_for(lambda moment: moment.frames >= first).seconds
        # Frames may come in bursts, in rows of about the same time: measures from the first row of
        # one burst to the first of another.
        begin = self._wait_for(lambda moment: moment.seconds >= settled + 1)
        busy, used = machine.busy_seconds(), machine.used_seconds(self._processes())
        end = self._wait_for(lambda moment: moment.seconds >= begin.seconds + seconds)
        others = machine.busy_seconds() - busy - machine.used_seconds(self._processes()) + used
        took = end.seconds - begin.seconds
        share = max(0.0, others) / (took * (os.cpu_count() or 1))
        return Turn(end.frames - begin.frames, end.updates - begin.updates, took, share)

    def _wait_for(self, is_it: Callable[[Moment], bool]) -> Moment:
        found: list[Moment] = []

        def look() -> bool:
            if self._process.poll() is not None:
                raise RuntimeError(f"{' '.join(self._command)} has ended:\n{self._tail()}")
            found.extend(moment for moment in self._moments() if is_it(moment))
            return bool(found)

        launched_run.wait_until(look, _START_S + _SECONDS.value, self._tail)
        return found[0]

    def _moments(self) -> list[Moment]:
        """The moments of all rows so far."""
        # The last row may be half written.
        with contextlib.suppress(OSError, ValueError, TypeError):
            with (self._directory / "train.csv").open() as stream:
                rows = list(csv.DictReader(stream))
            return [
                Moment(int(row["frames"]), int(row["updates"]), float(row["elapsed_seconds"]))
                for row in rows
            ]
        return []

    def _processes(self) -> list[int]:
        """The processes with the directory in their arguments."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self._directory) in path.read_bytes().decode(errors="replace"):
                    found.append(int(path.parent.name))
        return found

    def _tail(self) -> str:
        logs = [self._log, *sorted((self._directory / "logs").glob("*.log"))]
        return "\n".join(line for log in logs for line in processes.last_lines(log)[-8:])


Repeat = Mapping[str, Turn]


def main(argv: Sequence[str]) -> None:
    """Measures, prints the table and writes the file."""
    del argv
    config: Any = command_line.load_config(_CONFIG)
    contenders = {_ALONE: 0} | {f"launch, {n} actors": n for n in _actors()}
    if _OUTPUT.value and Path(_OUTPUT.value).exists():
        raise checks.ConfigError(f"output = {_OUTPUT.value!r}: exists already, not overwritten")
    periods = [config.training.update_period_frames, _RARE.value]
    with tempfile.TemporaryDirectory() as directory:
        # What is compiled in the first turn need not be in the others.
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(directory) / "jax"))
        repeats: dict[int, list[Repeat]] = {period: [] for period in dict.fromkeys(periods)}
        for number in progress.track(range(_REPEATS.value), "repeat"):
            for period, done in repeats.items():
                order = list(contenders.items())[:: 1 if number % 2 == 0 else -1]
                where = Path(directory) / f"{period}_{number}"
                turns = {name: _turn(where / str(n), n, period) for name, n in order}
                done.append({name: turns[name] for name in contenders})
                _show_repeat(number, period, done[-1])
    report = {
        "machine": machine.describe(),
        "config": _given()[0],
        "seconds": _SECONDS.value,
        "summary": {period: summarize(done) for period, done in repeats.items()},
        "repeats": {
            period: [{name: turn._asdict() for name, turn in r.items()} for r in done]
            for period, done in repeats.items()
        },
    }
    print("\n".join(_table(report["summary"])))
    if _OUTPUT.value:
        Path(_OUTPUT.value).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _actors() -> list[int]:
    """The numbers of actors that were asked for."""
    if not all(number.isdecimal() and int(number) for number in _ACTORS.value):
        raise checks.ConfigError(f"actors = {','.join(_ACTORS.value)}: expected integers >= 1")
    return [int(number) for number in _ACTORS.value]


def _given() -> tuple[str, Mapping[str, str]]:
    """The configuration's file, and the overrides of its keys."""
    return launched_run.config_arguments([f"--config={_DEFAULT}", *sys.argv[1:]])


def _turn(directory: Path, num_actors: int, period: int) -> Turn:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _Run(directory, num_actors, _changes(period)) as run:
        return run.measure(_SECONDS.value)


def _changes(period: int) -> dict[str, Any]:
    """What differs from a real run: it only acts and learns, and begins early."""
    return {
        "num_frames": _NEVER,
        "replay.min_size": 500,
        "replay.capacity": 50_000,
        "training.update_period_frames": period,
        "evaluation.period_frames": 0,
        "log.period_frames": 400,
        "log.layers_period_frames": 0,
        "log.tensorboard": False,
        "snapshot.period_frames": _NEVER,
    }


def summarize(repeats: Sequence[Repeat]) -> dict[str, Any]:
    """By contender, the spread of its speeds, and of their ratio to one process.

    Args:
      repeats: the turns of each.
    """
    summary = {}
    for name in repeats[0]:
        turns = [repeat[name] for repeat in repeats]
        summary[name] = {
            "frames_per_second": machine.spread([t.frames / t.seconds for t in turns]),
            "updates_per_second": machine.spread([t.updates / t.seconds for t in turns]),
            "ratio": machine.spread([_speed(r[name]) / _speed(r[_ALONE]) for r in repeats]),
            "disturbance": statistics.median(t.disturbance for t in turns),
        }
    return summary


def _speed(turn: Turn) -> float:
    return turn.frames / turn.seconds


def _show_repeat(number: int, period: int, repeat: Repeat) -> None:
    speeds = [f"{name} {_speed(turn):.0f} frames/s" for name, turn in repeat.items()]
    disturbance = max(turn.disturbance for turn in repeat.values())
    print(
        f"repeat {number + 1} of {_REPEATS.value}, an update each {period} frames: "
        f"{', '.join(speeds)}; others had up to {disturbance:.0%} of the cores",
        file=sys.stderr,
    )


def _table(summary: Mapping[int, Any]) -> list[str]:
    """The lines of a markdown table."""
    lines = [
        "| frames an update | run | frames/s (least to greatest) | updates/s | times one process "
        "| others had of the cores |",
        "|---|---|---|---|---|---|",
    ]
    for period, rows in summary.items():
        for name, row in rows.items():
            speed, ratio = row["frames_per_second"], row["ratio"]
            lines.append(
                f"| {period} | {name} "
                f"| {speed['median']:.0f} ({speed['least']:.0f} to {speed['greatest']:.0f}) "
                f"| {row['updates_per_second']['median']:.1f} "
                f"| {ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['greatest']:.2f}) "
                f"| {row['disturbance']:.0%} |"
            )
    return lines


if __name__ == "__main__":
    command_line.run(main)
