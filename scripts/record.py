"""Films a policy while it plays one episode: the game's own screen, as .mp4 or as a short .gif.

python -m scripts.record --run_dir=runs/rainbow/pong/seed_1 --output=pong.mp4
python -m scripts.record --policy=docs/results/make_train/policy.npz --output=film.gif
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from scripts import chosen_policy, command_line
from training.acting import filming
from training.system import exit_codes, stopping

_SEED = flags.DEFINE_integer(
    "seed", 0, "Of the environment and the noise.", lower_bound=0, upper_bound=2**31 - 1
)
_MAX_STEPS = flags.DEFINE_integer(
    "max_steps", None, "Agent steps at most; default: 27,000, of a .gif 1,000.", lower_bound=1
)
_OUTPUT = flags.DEFINE_string("output", "episode.mp4", "The film, .mp4 or .gif.")
# So that --help tells of them.
flags.adopt_module_key_flags(chosen_policy)


def main(argv: Sequence[str]) -> int:
    """Plays an episode and writes the film; returns 0, or 3 when stopped early."""
    del argv
    player = chosen_policy.choose().load()
    output, seed, max_steps = Path(_OUTPUT.value), _SEED.value, _MAX_STEPS.value
    try:
        with stopping.StopRequest("ending without a film") as stop:
            total = filming.record(player, output, seed, max_steps, lambda: stop.requested)
    except stopping.Stopped:
        return exit_codes.STOPPED
    logging.info("wrote %s: return %g", output, total)
    return 0


if __name__ == "__main__":
    command_line.run(main)
