"""How far a run's values lie above the returns that follow, checkpoint by checkpoint.

python -m scripts.overestimation --run_dir=RUN --checkpoints=all

Plays whole episodes with each checkpoint and writes overestimation.csv in the run's directory: the
mean value of the actions taken, the mean discounted return from there on, and their difference.
What the file has already is not done again.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from absl import flags, logging

from core import progress
from scripts import command_line
from training import run_directory, run_settings
from training.acting import overestimation, policy
from training.logs import csv_log, run_recorder
from training.system import exit_codes, jax_platform, stopping

_FILE = "overestimation.csv"

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory.", required=True)
_CHECKPOINTS = flags.DEFINE_string("checkpoints", "newest", "newest, all, or frames: 1000,2000.")
_SEED_INDEX = flags.DEFINE_integer("seed_index", 0, "Which of the run's seeds, from 0.")
_EPISODES = flags.DEFINE_integer("episodes", 10, "In environments of their own.", lower_bound=1)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of environments and noise.", lower_bound=0, upper_bound=2**31 - 1
)
_PLATFORM = flags.DEFINE_string("platform", "auto", "auto, cpu or gpu.")


def main(argv: Sequence[str]) -> int:
    """Measures and writes a row for each; returns 0, or 3 when stopped early."""
    del argv
    run_dir = Path(_RUN_DIR.value)
    settings = run_settings.parse(run_directory.read_config(run_dir))
    jax_platform.set_up(_PLATFORM.value, settings.precision)
    frames = policy.choose_frames(run_dir, _CHECKPOINTS.value)
    functions = overestimation.make(policy.load(run_dir, frames[0], _SEED_INDEX.value))
    try:
        with (
            stopping.StopRequest("ending with what is measured") as stop,
            run_directory.locked(run_dir),
        ):
            missing = csv_log.without_row(run_dir / _FILE, [_asked(number) for number in frames])
            for asked in progress.track(missing, "checkpoint"):
                _measure(run_dir, asked, functions, lambda: stop.requested)
    except stopping.Stopped:
        return exit_codes.STOPPED
    return 0


def _asked(frames: int) -> dict[str, int]:
    """Which measurement a row is of."""
    return {
        "frames": frames,
        "seed_index": _SEED_INDEX.value,
        "seed": _SEED.value,
        "asked_episodes": _EPISODES.value,
    }


def _measure(
    run_dir: Path,
    asked: Mapping[str, int],
    functions: overestimation.Functions,
    stop: Callable[[], bool],
) -> None:
    frames = asked["frames"]
    player = policy.load(run_dir, frames, _SEED_INDEX.value)
    found = overestimation.measure(player, functions, _EPISODES.value, _SEED.value, stop)
    table = csv_log.CsvLog(run_dir / _FILE, "frames", run_recorder.KEEP_ROWS)
    table.append(
        {
            **asked,
            **found._asdict(),
            "overestimation": found.difference,
        }
    )
    logging.info(
        "%d frames: value %.3f, return %.3f, overestimation %+.3f over %d states",
        *(frames, found.value, found.discounted_return, found.difference, found.states),
    )


if __name__ == "__main__":
    command_line.run(main)
