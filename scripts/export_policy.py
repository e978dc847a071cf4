"""Writes the policy of a run's snapshot to one small file, to be played anywhere.

python -m scripts.export_policy --run_dir=runs/rainbow/pong/seed_1 --output=pong.npz --dtype=float16

scripts.evaluate and scripts.record play it with --policy=pong.npz.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from analysis import run_records
from scripts import command_line
from training import run_directory
from training.acting import policy, policy_file
from training.system import jax_platform

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory.", required=True)
_SNAPSHOT = flags.DEFINE_integer("snapshot", None, "Which snapshot, in frames; default: newest.")
_SEED_INDEX = flags.DEFINE_integer("seed_index", 0, "Which of the run's seeds, from 0.")
_OUTPUT = flags.DEFINE_string("output", None, "A new file .npz.", required=True)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", policy_file.DTYPES, "Of its parameters; float16 takes half the room."
)


def main(argv: Sequence[str]) -> None:
    """Loads the policy and writes it."""
    del argv
    run_dir, output = Path(_RUN_DIR.value), Path(_OUTPUT.value)
    jax_platform.set_up("cpu")
    config = run_directory.read_config(run_dir)
    player = policy.load(run_dir, _SNAPSHOT.value, _SEED_INDEX.value)
    starts = run_records.read_starts(run_dir / "provenance.jsonl")
    policy_file.write(output, player, config, starts, _DTYPE.value)
    logging.info("wrote %s: %.2f MB, %d frames", output, output.stat().st_size / 1e6, player.frames)


if __name__ == "__main__":
    command_line.run(main)
