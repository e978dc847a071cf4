"""MinAtar's games one after the other, channels and actions permuted anew at each visit.

    pip install -c constraints.txt -e '.[minatar]'
    python -m scripts.train --config=configs/minatar_stream.py:c51:nap

The argument is an agent, as in configs/streams.py, and plain, ln, nap, l2_init or reset: 3 games by
3 visits of 60,000 steps with an update each. What to look at is `mean_return` in train.csv. The
package is under the GPL and nothing else needs it. Nothing was tuned.
"""

from typing import Any

from configs import modifiers, streams
from core import settings
from envs import environment_sequence
from networks.torsos import cnn

_ARMS = ("plain", "ln", "nap", "l2_init", "reset")
_GAMES = ("breakout", "asterix", "space_invaders")
_VISITS = 3
_FRAMES = 60_000


def get_config(argument: str = "c51:plain") -> Any:
    """The config; `argument` is an agent and an arm.

    Raises:
      ConfigError: for another agent or arm.
    """
    agent, arm = streams.choose(argument)
    modifiers.check_choice("arm", arm, _ARMS)
    config = streams.make(agent, width=128)
    streams.named(config, "minatar", agent, arm)
    streams.with_tasks(config, len(_GAMES) * _VISITS, _FRAMES, frames_per_update=1)
    modifiers.with_torso(config, cnn.Settings(channels=(16,)))
    with config.unlocked():
        config.environment = settings.to_config(
            environment_sequence.Settings(
                environments=tuple(_visit(number) for number in range(len(_GAMES) * _VISITS)),
                frames_per_environment=_FRAMES,
            )
        )
    config.training.target_update_period_frames = 1_000
    config.training.steps_per_call = 1
    config.transition.n_step = 3
    streams.with_returns(config, v_max=100.0, epsilon=0.05)
    streams.ARMS[arm](config)
    return config.lock()


def _visit(number: int) -> dict[str, Any]:
    return {
        "module": "gymnasium_vector",
        "id": "envs.minatar_games:PermutedMinAtar-v0",
        "kwargs": {"game": _GAMES[number % len(_GAMES)], "task": number},
    }
