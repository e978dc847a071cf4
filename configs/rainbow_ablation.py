"""Rainbow without one of its parts, on one Atari game.

    python -m scripts.train --config=configs/rainbow_ablation.py:double:breakout

Shows: what each part adds (Hessel et al. 2018, figure 3). The parts:

* dueling: one stream in place of two.
* noise: plain layers; an epsilon falls to 0.01 within 250k frames, as in Hessel et al. 2018. The
  agent is then agents/c51.py with double Q-learning, which has such an epsilon.
* priorities: uniform replay.
* steps: n = 1.
* double: the target network chooses the action itself.
* distribution: one value for each action, and half the square of its error. The agent is then
  agents/prioritized.py, with Rainbow's network and no epsilon.

With no part named it is Rainbow itself, the control. Not run at full length here.
"""

from collections.abc import Callable
from typing import Any

from agents import c51, exploration, prioritized
from configs import modifiers, rainbow
from core import settings
from replay.device import uniform


def get_config(argument: str = "") -> Any:
    """The config; `argument` is the part that is left out, maybe with ":" and a ROM's name."""
    part, _, game = argument.partition(":")
    config = rainbow.make("atari", "rainbow", "prioritized")
    config.environment.game = game or "pong"
    if not part:
        return modifiers.named(config, "rainbow_ablation").lock()
    modifiers.check_choice("part", part, tuple(_WITHOUT))
    modifiers.named(config, f"rainbow_without_{part}")
    with config.unlocked():
        _WITHOUT[part](config)
    return config.lock()


def _dueling(config: Any) -> None:
    config.network.head.dueling = False


def _noise(config: Any) -> None:
    epsilon = exploration.EpsilonSettings(
        end=0.01, begin_steps=config.replay.min_size, decay_steps=62_500, evaluation=0.001
    )
    config.agent = settings.to_config(c51.Settings(double=True, epsilon=epsilon))
    config.network.head.noisy = False


def _priorities(config: Any) -> None:
    config.replay = settings.to_config(uniform.Settings())


def _steps(config: Any) -> None:
    config.transition.n_step = 1


def _double(config: Any) -> None:
    config.agent.double = False


def _distribution(config: Any) -> None:
    none = exploration.EpsilonSettings(begin=0.0, end=0.0, evaluation=0.0)
    config.agent = settings.to_config(prioritized.Settings(loss="squared", epsilon=none))


_WITHOUT: dict[str, Callable[[Any], None]] = {
    "dueling": _dueling,
    "noise": _noise,
    "priorities": _priorities,
    "steps": _steps,
    "double": _double,
    "distribution": _distribution,
}
