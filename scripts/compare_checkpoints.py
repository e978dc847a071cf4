"""How far a run's networks moved between checkpoints, and how much their outputs changed.

python -m scripts.compare_checkpoints --run_dir=RUN --pairs=visits

Writes changes.csv (each pair: churn of values and of best actions on inputs from the replay, and
how far layers moved beside the first pair) and layer_changes.csv (each layer of each pair) to the
run's directory; see docs/metrics.md. Pairs are consecutive checkpoints (`next`), each with the
oldest (`first`), or the beginning and the middle of each visit to a game (`visits`), for which a
run keeps them with --config.snapshot.parameters_period_frames at half of the visit's frames.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags, logging

from agents import base as agents_base
from core import progress
from plasticity import layers
from plasticity.metrics import change_metrics, churn_metrics
from scripts import command_line
from training import run_directory, run_settings
from training.acting import policy
from training.checkpoints import checkpoint_pairs
from training.learning import replayed_inputs
from training.logs import csv_log, run_recorder
from training.system import jax_platform

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory.", required=True)
_PAIRS = flags.DEFINE_enum("pairs", "next", checkpoint_pairs.KINDS, "Which to compare.")
_SEED_INDEX = flags.DEFINE_integer("seed_index", 0, "Which of the run's seeds, from 0.")
_INPUTS = flags.DEFINE_integer(
    "inputs", 2_048, "Observations on which churn is measured.", lower_bound=1
)
_PLATFORM = flags.DEFINE_string("platform", "auto", "auto, cpu or gpu.")


class Pair(NamedTuple):
    """Two checkpoints by their frames, and the difference between their layers."""

    before: int
    after: int
    layers: dict[str, change_metrics.LayerChange]
    churn: dict[str, jax.Array]


def main(argv: Sequence[str]) -> int:
    """Compares and writes; what was written before is replaced."""
    del argv
    run_dir = Path(_RUN_DIR.value)
    settings = run_settings.parse(run_directory.read_config(run_dir))
    jax_platform.set_up(_PLATFORM.value, settings.precision)
    chosen = checkpoint_pairs.choose(_PAIRS.value, policy.saved_frames(run_dir), settings)
    with run_directory.locked(run_dir):
        compared = list(compare(run_dir, settings, progress.track(chosen, "pair")))
        paths = [run_dir / name for name in ("changes.csv", "layer_changes.csv")]
        for path, rows in zip(paths, (of_pairs(compared), of_layers(compared))):
            path.unlink(missing_ok=True)
            table = csv_log.CsvLog(path, "frames", run_recorder.KEEP_ROWS)
            for row in rows:
                table.append(row)
            logging.info("wrote %s", path)
    return 0


def compare(
    run_dir: Path, settings: run_settings.RunSettings, pairs: Iterable[tuple[int, int]]
) -> Iterator[Pair]:
    """Compares each pair of checkpoints."""
    seed = _SEED_INDEX.value
    agent, inputs = replayed_inputs.draw(run_dir, settings, _INPUTS.value, seed)

    @jax.jit
    def values(params: Any) -> jax.Array:
        return agents_base.action_values(agent.apply(params, jax.random.key(0), inputs))

    for before, after in pairs:
        ours, theirs = (policy.load(run_dir, at, seed).params for at in (before, after))
        found = layers.find_layers(ours, lambda _: agent.declared.layers)
        yield Pair(
            before,
            after,
            change_metrics.of_layers(ours, theirs, found),
            churn_metrics.churn(values(ours), values(theirs)),
        )


def of_pairs(compared: Sequence[Pair]) -> Iterator[dict[str, Any]]:
    """The rows of changes.csv."""
    for pair in compared:
        yield {
            "from_frames": pair.before,
            "frames": pair.after,
            "seed_index": _SEED_INDEX.value,
            **{name: float(value) for name, value in pair.churn.items()},
            "change_over_first": change_metrics.mean_ratio(pair.layers, compared[0].layers),
        }


def of_layers(compared: Sequence[Pair]) -> Iterator[dict[str, Any]]:
    """The rows of layer_changes.csv."""
    for pair in compared:
        for name, found in pair.layers.items():
            yield {
                "from_frames": pair.before,
                "frames": pair.after,
                "seed_index": _SEED_INDEX.value,
                "layer": name,
                "change": found.change,
                "norm": found.norm,
                "weights": found.weights,
            }


if __name__ == "__main__":
    command_line.run(main)
