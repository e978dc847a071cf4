"""Records a snapshot playing one episode as an mp4 film of the game's own screen.

python -m scripts.record --run_dir=runs/rainbow/pong/seed_1 --output=pong.mp4
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from scripts import command_line
from training import run_directory, run_settings
from training.acting import filming, policy
from training.system import jax_platform, stopping

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory.", required=True)
_SNAPSHOT = flags.DEFINE_integer("snapshot", None, "Which snapshot, in frames; default: newest.")
_SEED_INDEX = flags.DEFINE_integer("seed_index", 0, "Which of the run's seeds, from 0.")
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of the environment and the noise.", lower_bound=0, upper_bound=2**31 - 1
)
_MAX_STEPS = flags.DEFINE_integer("max_steps", 27_000, "Agent steps at most.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "episode.mp4", "The film.")
_PLATFORM = flags.DEFINE_string("platform", "auto", "auto, cpu or gpu.")


def main(argv: Sequence[str]) -> int:
    """Plays an episode and writes the film; returns 0, or 3 when stopped early."""
    del argv
    run_dir = Path(_RUN_DIR.value)
    settings = run_settings.parse(run_directory.read_config(run_dir))
    jax_platform.set_up(_PLATFORM.value, settings.precision)
    player = policy.load(run_dir, _SNAPSHOT.value, _SEED_INDEX.value)
    output, seed, max_steps = Path(_OUTPUT.value), _SEED.value, _MAX_STEPS.value
    try:
        with stopping.StopRequest("ending without a film") as stop:
            total = filming.record(player, output, seed, max_steps, lambda: stop.requested)
    except stopping.Stopped:
        return command_line.STOPPED
    logging.info("wrote %s: return %g", output, total)
    return 0


if __name__ == "__main__":
    command_line.run(main)
