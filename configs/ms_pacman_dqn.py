"""Double DQN on Ms. Pac-Man with one of seven techniques that are to keep it plastic.

    python -m scripts.train --config=configs/ms_pacman_dqn.py:incremental_l2

The first experiment of "Improving neural network plasticity in reinforcement learning" (Cheng,
Chen, Ma), 2M steps with an update each. Its settings are those of Berkeley's CS285, fall 2023,
homework 3 [C]. Not told, and chosen here: the strengths of L2, the epsilon of evaluations, and
that LayerNorm stands after the nonlinearity (the report's share of updated units is below 100 %).
The report's curves are single runs. Not run at full length here.
"""

from typing import Any

from configs import dqn, modifiers

_STEPS, _BEGIN, _FRAMES_PER_STEP = 2_000_000, 20_000, 4
_L2 = 1e-5


def get_config(technique: str = "none") -> Any:
    """The config; `technique` is one of TECHNIQUES.

    Raises:
      ConfigError: for another technique.
    """
    config = dqn.make("double_q", "uniform", "ms_pacman")
    modifiers.named(config, "ms_pacman_dqn")
    config.num_envs = 1
    config.num_frames = _STEPS * _FRAMES_PER_STEP
    config.replay.min_size = _BEGIN
    config.training.update_period_frames = _FRAMES_PER_STEP
    config.training.target_update_period_frames = 2_000 * _FRAMES_PER_STEP
    config.evaluation.period_frames = 200_000
    with_squared_loss(config, 1e-4, eps=1e-4, max_gradient_norm=10.0)
    with_exploration(config, _BEGIN, _STEPS // 2, 0.01)
    schedule = config.optimizer.schedule
    schedule.name = "linear"
    schedule.end_value = config.optimizer.learning_rate / 2
    schedule.begin = _BEGIN
    schedule.duration = _STEPS // 2 - _BEGIN
    return with_technique(config, technique, _FRAMES_PER_STEP).lock()


def with_squared_loss(
    config: Any, learning_rate: float, eps: float, max_gradient_norm: float
) -> Any:
    """[C]'s mean of squares, by Adam: half of it, which gives the same updates with half of both.

    Args:
      config: is changed.
      learning_rate: of Adam.
      eps: of Adam, for the whole square.
      max_gradient_norm: for the whole square; 0: none.
    """
    config.agent.loss = "squared"
    config.optimizer.learning_rate = learning_rate
    config.optimizer.kwargs.eps = eps / 2
    config.optimizer.max_gradient_norm = max_gradient_norm / 2
    return config


def with_exploration(config: Any, begin: int, end: int, epsilon: float) -> Any:
    """Uniform actions until step `begin`, falling to a share `epsilon` at step `end`."""
    config.agent.epsilon.begin_steps = begin
    config.agent.epsilon.decay_steps = end - begin
    config.agent.epsilon.end = epsilon
    config.agent.epsilon.evaluation = epsilon
    return config


def with_technique(config: Any, technique: str, frames_per_step: int) -> Any:
    """The config, with the technique's name added to its own, and plasticity measured."""
    modifiers.check_choice("technique", technique, TECHNIQUES)
    if technique != "none":
        modifiers.named(config, f"{config.name}_{technique}")
    _measure_plasticity(config, 1_000 * frames_per_step)
    # Counted from the first update on.
    half = config.num_frames // 2 - config.replay.min_size * frames_per_step
    match technique:
        case "l2":
            config.interventions = ({"module": "l2", "strength": _L2},)
        case "incremental_l2":
            rise = {"strength": 0.0, "end_strength": _L2, "duration_frames": config.num_frames}
            config.interventions = ({"module": "l2", **rise},)
        case "periodic_l2":  # on and off for the report's shares of the run
            on, off = config.num_frames // 4, config.num_frames // 20
            period = {"strength": _L2, "on_frames": on, "off_frames": off}
            config.interventions = ({"module": "l2", **period},)
        case "layer_norm":
            config.network.norm.kind = "layer"
            config.network.norm.position = "post"
        case "leaky_relu":
            config.network.activation.kind = "leaky_relu"
        case "injection":
            config.network.injection.times = 1
            config.network.injection.scope = "network"
            config.optimizer.name = "adam_ages"
            config.interventions = ({"module": "injection", "at_frames": (half,)},)
    return config


def _measure_plasticity(config: Any, period_frames: int) -> None:
    """[C]'s 1000 steps for what is cheap; ranks are not."""
    config.log.layers_period_frames = period_frames
    config.log.units_period_frames = period_frames
    config.log.ranks_period_frames = 10 * period_frames


TECHNIQUES = (
    "none",
    "l2",
    "incremental_l2",
    "periodic_l2",
    "layer_norm",
    "leaky_relu",
    "injection",
)
