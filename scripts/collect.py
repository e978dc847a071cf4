"""Records steps of an environment as a data set, from which agents can learn before they play.

python -m scripts.collect --config=configs/cartpole.py --steps=20_000 --output=datasets/cartpole.npz

The actions are uniform, or those of a run's agent: --run_dir=RUN, with --epsilon of them uniform.
Or --explore: the config's agent learns from novelty alone (training/novelty.py) while it plays.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dm_env
import jax
import numpy as np
from absl import flags, logging
from ml_collections import config_flags

from core import checks, progress
from envs import base as envs_base
from replay import base as replay_base
from scripts import command_line
from training import derived, novelty, run_settings
from training.acting import choosing, policy
from training.learning import dataset, replay_learner
from training.system import exit_codes, jax_platform, stopping

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Whose environment and reward clipping; file.py:GAME chooses the game."
)
_STEPS = flags.DEFINE_integer("steps", 10_000, "How many steps.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", None, "A new file .npz.", required=True)
_RUN_DIR = flags.DEFINE_string("run_dir", None, "A run whose agent plays; default: at random.")
_EPSILON = flags.DEFINE_float(
    "epsilon", 0.0, "Share of uniform actions of that agent.", lower_bound=0.0, upper_bound=1.0
)
_EXPLORE = flags.DEFINE_bool("explore", False, "Play with an agent that looks for novelty.")
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of all that is drawn.", lower_bound=0, upper_bound=2**31 - 1
)

Choose = Callable[[dm_env.TimeStep], np.ndarray]


def main(argv: Sequence[str]) -> int:
    """Records and writes; returns 0, or 3 when stopped early: then nothing is written."""
    del argv
    settings = run_settings.parse(derived.resolve(command_line.load_config(_CONFIG)))
    jax_platform.set_up(settings.platform, settings.precision)
    output = Path(_OUTPUT.value)
    if output.suffix != ".npz" or output.exists():
        raise checks.ConfigError(f"output = {str(output)!r}: expected a new file .npz")
    if _EXPLORE.value and _RUN_DIR.value:
        raise checks.ConfigError("explore = True: expected no run_dir, whose agent has learned")
    command_line.check_given(_EPSILON, bool(_RUN_DIR.value), "with --run_dir")
    player = _load(Path(_RUN_DIR.value), settings) if _RUN_DIR.value else None
    with command_line.writing(_OUTPUT):
        output.parent.mkdir(parents=True, exist_ok=True)
        # What can't be written is found out before the steps are played.
        output.touch()
        output.unlink()
    play = novelty.record if _EXPLORE.value else functools.partial(record, player)
    with stopping.StopRequest("ending without a data set") as stop:
        steps = play(settings, _STEPS.value, _SEED.value, lambda: stop.requested)
    if steps is None:
        return exit_codes.STOPPED
    with command_line.writing(_OUTPUT):
        dataset.save(output, steps)
    logging.info("wrote %s: %d steps, rewards %g", output, _STEPS.value, steps.reward.sum())
    return 0


def _load(run_dir: Path, settings: run_settings.RunSettings) -> policy.Policy:
    """The agent that plays; raises ConfigError if it is of another environment than `settings`."""
    player = policy.load(run_dir)
    ours = envs_base.task_name(settings.environment)
    played = {envs_base.task_name(task) for task in envs_base.tasks(player.settings.environment)}
    if ours not in played or _spaces(settings) != _spaces(player.settings):
        raise checks.ConfigError(
            f"run_dir = {str(run_dir)!r}: expected a run of {ours}, with the observations and "
            f"actions of --config; it has played {', '.join(sorted(played))}"
        )
    return player


def _spaces(settings: run_settings.RunSettings) -> tuple[Any, ...]:
    """Of one observation the shape and type, and the number of actions."""
    observations, actions = envs_base.make_specs(settings.environment)
    return observations.shape, observations.dtype, actions.num_values


def record(
    player: policy.Policy | None,
    settings: run_settings.RunSettings,
    num_steps: int,
    seed: int,
    stop: Callable[[], bool],
) -> replay_base.Step | None:
    """Plays in one environment, at random without a player.

    Returns:
      The steps [T, ...], or None if `stop` said so.
    """
    environment = envs_base.make(settings.environment, 1, seed)
    try:
        timestep = environment.reset()
        choose = _make_choose(player, environment, timestep, seed)
        recorded = []
        for _ in progress.track(range(num_steps), "step"):
            if stop():
                return None
            action = choose(timestep)
            reward = choosing.clip_rewards(timestep.reward, settings.transition.max_abs_reward)
            recorded.append(
                (
                    timestep.observation[0],
                    np.asarray(timestep.first())[0],
                    np.asarray(timestep.last())[0],
                    reward[0],
                    timestep.discount[0],
                    action[0],
                )
            )
            timestep = environment.step(action)
    finally:
        environment.close()
    columns: list[Any] = [np.array(column) for column in zip(*recorded)]
    return replay_base.Step(*columns)


def _make_choose(
    player: policy.Policy | None,
    environment: envs_base.VectorEnvironment,
    timestep: dm_env.TimeStep,
    seed: int,
) -> Choose:
    random = np.random.default_rng(seed)
    num_actions = environment.action_spec().num_values
    if player is None:
        return lambda _: random.integers(num_actions, size=1, dtype=np.int32)
    act = player.evaluator().act
    stack: Any = replay_learner.empty_stack(
        jax.numpy.asarray(timestep.observation), player.settings.transition.frame_stack
    )
    rng = jax.random.key(seed)

    def choose(timestep: dm_env.TimeStep) -> np.ndarray:
        nonlocal rng, stack
        is_first = np.asarray(timestep.first())
        rng, stack, actions = act(
            player.params, rng, stack, timestep.observation, is_first, np.int32(0)
        )
        if random.uniform() < _EPSILON.value:
            return random.integers(num_actions, size=1, dtype=np.int32)
        return np.asarray(actions)

    return choose


if __name__ == "__main__":
    command_line.run(main)
