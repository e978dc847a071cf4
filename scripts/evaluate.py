"""Plays whole episodes with a policy and writes their returns to a CSV file.

python -m scripts.evaluate --run_dir=runs/rainbow/pong/seed_1 --protocol=machado --episodes=30
python -m scripts.evaluate --policy=docs/results/make_train/policy.npz --episodes=30
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import flags, logging

from core import checks
from envs import atari
from envs import base as envs_base
from scripts import chosen_policy, command_line
from training import run_directory
from training.acting import policy
from training.logs import csv_log
from training.system import exit_codes, stopping

_PROTOCOL = flags.DEFINE_string("protocol", None, "dqn_zoo or machado; default: the training's.")
_GAME = flags.DEFINE_string("game", None, "Of a sequence; default: the one it was playing.")
_EPISODES = flags.DEFINE_integer("episodes", 30, "How many episodes.", lower_bound=1)
_NUM_ENVS = flags.DEFINE_integer("num_envs", 8, "Environments at once.", lower_bound=1)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of environments and noise.", lower_bound=0, upper_bound=2**31 - 1
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "CSV file; default: in the run's directory, with --policy none."
)
# So that --help tells of them.
flags.adopt_module_key_flags(chosen_policy)


def main(argv: Sequence[str]) -> int:
    """Evaluates and reports the mean; returns 0, or 3 when stopped early."""
    del argv
    source = chosen_policy.choose()
    # Output elsewhere conflicts with nobody, and a run may go on meanwhile.
    lock = contextlib.nullcontext()
    if source.run_dir and not _OUTPUT.value:
        lock = run_directory.locked(source.run_dir)
    try:
        with stopping.StopRequest("ending without a result") as stop, lock:
            _evaluate(source, lambda: stop.requested)
    except stopping.Stopped:
        return exit_codes.STOPPED
    return 0


def _evaluate(source: chosen_policy.Source, stop: Callable[[], bool]) -> None:
    player = source.load()
    environment = choose_protocol(choose_game(player, _GAME.value), _PROTOCOL.value)
    protocol = environment.protocol if isinstance(environment, atari.Settings) else ""
    game = envs_base.task_name(environment)
    output = _output(source.run_dir, player, game, protocol)
    episodes = player.evaluator().play(
        player.params, environment, _NUM_ENVS.value, _EPISODES.value, _SEED.value, stop
    )
    if output:
        write(output, player, game, protocol, episodes)
    returns = [episode.episode_return for episode in episodes]
    logging.info(
        "policy of %d frames: mean return %.2f, standard deviation %.2f, %d episodes%s",
        player.frames,
        np.mean(returns),
        np.std(returns),
        len(returns),
        f": {output}" if output else "",
    )


def _output(run_dir: Path | None, player: policy.Policy, game: str, protocol: str) -> Path | None:
    """The file to write, None for none. Raises ConfigError if that can't be."""
    parts = [game] if envs_base.is_sequence(player.settings.environment) else []
    # The seed is that of what is played; an agent among several has one as well.
    parts += [f"agent_{player.seed}"] if player.settings.num_seeds > 1 else []
    parts += [str(player.frames), protocol or "training", f"seed_{_SEED.value}"]
    default = run_dir and run_dir / f"evaluation_{'_'.join(parts)}.csv"
    output = Path(_OUTPUT.value) if _OUTPUT.value else default
    if output and output.exists():
        raise checks.ConfigError(f"output = {str(output)!r}: exists already, not overwritten")
    if output and not output.parent.is_dir():
        raise checks.ConfigError(f"output = {str(output)!r}: expected a directory that exists")
    return output


def choose_game(player: policy.Policy, game: str | None) -> envs_base.Settings:
    """The environment of one game of the sequence that the agent was trained on.

    Raises:
      ConfigError: if the game was not among them.
    """
    if game is None:
        return player.environment
    tasks = envs_base.tasks(player.settings.environment)
    by_name = {envs_base.task_name(task): task for task in tasks}
    if game not in by_name:
        raise checks.ConfigError(f"game = {game!r}: expected one of {', '.join(by_name)}")
    return by_name[game]


def choose_protocol(environment: envs_base.Settings, protocol: str | None) -> envs_base.Settings:
    """The training's environment under another protocol, with the action set it was trained on.

    Raises:
      ConfigError: if the protocol is unknown, or the environment has none.
    """
    if protocol is None:
        return environment
    if not isinstance(environment, atari.Settings):
        raise checks.ConfigError(
            f"protocol = {protocol!r}: environment {environment.module!r} has no protocols"
        )
    if protocol not in atari.PROTOCOLS:
        listed = " or ".join(atari.PROTOCOLS)
        raise checks.ConfigError(f"protocol = {protocol!r}: expected {listed}")
    all_actions = atari.has_full_action_space(environment)
    return dataclasses.replace(environment, protocol=protocol, full_action_space=all_actions)


def write(
    output: Path,
    player: policy.Policy,
    game: str,
    protocol: str,
    episodes: Sequence[envs_base.Episode],
) -> None:
    """Writes a row per episode."""
    log = csv_log.CsvLog(output, "frames", player.frames)
    for number, episode in enumerate(episodes):
        log.append(
            {
                "frames": player.frames,
                "agent_seed": player.seed,
                "game": game,
                "protocol": protocol,
                "episode": number,
                "return": episode.episode_return,
                "length_frames": episode.length_frames,
            }
        )


if __name__ == "__main__":
    command_line.run(main)
