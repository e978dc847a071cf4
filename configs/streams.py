"""Parts of experiments on streams of tasks (docs/streams.md): small agents, and arms."""

from collections.abc import Callable
from typing import Any

from ml_collections import config_dict

from configs import modifiers, rainbow
from networks.torsos import mlp

NUM_ENVS = 8

# Cheng, Chen and Ma do not tell theirs.
_L2 = 1e-5

# The module of an agent.
AGENTS = {
    "c51": "c51",
    "rainbow": "rainbow",
    "mse": "prioritized",
    "qrdqn": "qrdqn",
    "iqn": "iqn",
}


def make(agent: str, width: int) -> Any:
    """An agent with two hidden layers of a width in a stream, compiled with it; not locked."""
    config = rainbow.make("task_stream", AGENTS[agent], "prioritized")
    modifiers.with_torso(config, mlp.Settings(hidden_sizes=(width,)))
    config.network.head.hidden_size = width
    if agent == "rainbow":
        config.agent.evaluation_epsilon = 0.0
        config.agent.evaluation_noise = False
    else:
        modifiers.with_plain_head(config)
        config.agent.epsilon.evaluation = 0.0
    if agent == "c51":
        config.agent.double = True
    if agent == "mse":
        config.agent.loss = "squared"
    config.num_envs = NUM_ENVS
    config.transition.frame_stack = 0
    # Constant, or their drift would be one of the outcome.
    config.replay.importance_exponent_end = config.replay.importance_exponent
    config.task_switch.clear_replay = True
    config.optimizer.learning_rate = 1e-3
    config.optimizer.kwargs.eps = 1e-8
    config.training.steps_per_call = 500
    config.evaluation.period_frames = 0
    config.log.tensorboard = False
    return config


def with_tasks(config: Any, number: int, frames: int, frames_per_update: int) -> Any:
    """So many tasks of so many frames, with a row of each log for each."""
    config.environment.num_tasks = number
    config.environment.frames_per_task = frames
    with config.unlocked():  # follows the stream's length
        config.num_frames = config_dict.placeholder(int)
    config.replay.capacity = frames
    config.replay.min_size = 10 * NUM_ENVS
    config.training.update_period_frames = frames_per_update
    config.training.target_update_period_frames = 200 * frames_per_update
    config.log.period_frames = frames
    config.log.layers_period_frames = frames
    config.log.units_period_frames = frames
    config.snapshot.period_frames = 10 * frames
    return config


def with_returns(config: Any, v_max: float, epsilon: float) -> Any:
    """The agent's support reaches to `v_max`, and its epsilon stays, where it has them."""
    if "v_max" in config.agent:
        config.agent.v_max = v_max
    if "epsilon" in config.agent:
        config.agent.epsilon.begin = config.agent.epsilon.end = epsilon
    return config


def named(config: Any, experiment: str, agent: str, arm: str) -> Any:
    """The experiment's own name for c51:plain, else one with agent and arm."""
    is_default = (agent, arm) == ("c51", "plain")
    name = f"{experiment}_stream" if is_default else f"{experiment}_{agent}_{arm}"
    return modifiers.named(config, name)


def choose(argument: str) -> tuple[str, str]:
    """The agent and the arm that a config's argument names.

    Raises:
      ConfigError: for another agent or arm.
    """
    agent, _, arm = argument.partition(":")
    modifiers.check_choice("agent", agent, tuple(AGENTS))
    modifiers.check_choice("arm", arm or "plain", tuple(ARMS))
    return agent, arm or "plain"


def _with_rewarming(config: Any) -> Any:
    """NaP, and in every task a warm-up and half a cosine wave."""
    modifiers.with_nap(config)
    rate = config.optimizer.learning_rate
    return modifiers.with_warmup_per_task(
        config, rate, warmup_frames=config.environment.frames_per_task // 10
    )


def _with_decay(config: Any) -> Any:
    """NaP, and a linear decay to 0 over the run."""
    modifiers.with_nap(config)
    config.optimizer.schedule.name = "linear"
    config.optimizer.schedule.end_value = 0.0
    return config


def _with_l2_init(config: Any) -> Any:
    config.interventions = ({"module": "towards_initial", "strength": 1e-4},)
    return config


def _with_redo(config: Any) -> Any:
    period_frames = 250 * config.training.update_period_frames
    config.optimizer.name = "adam_ages"
    config.interventions = ({"module": "redo", "period_frames": period_frames},)
    return config


def _with_l2(config: Any) -> Any:
    config.interventions = ({"module": "l2", "strength": _L2},)
    return config


def _with_incremental_l2(config: Any) -> Any:
    """From none to that of `l2` over the run."""
    config.interventions = (
        {
            "module": "l2",
            "strength": 0.0,
            "end_strength": _L2,
            "duration_frames": _run_frames(config),
        },
    )
    return config


def _with_periodic_l2(config: Any) -> Any:
    """On for a quarter of the run, off for a twentieth, and so on."""
    frames = _run_frames(config)
    config.interventions = (
        {"module": "l2", "strength": _L2, "on_frames": frames // 4, "off_frames": frames // 20},
    )
    return config


def _with_norm_after(config: Any) -> Any:
    """LayerNorm behind the nonlinearity, where units that are off get no gradient."""
    modifiers.with_layer_norm(config).network.norm.position = "post"
    return config


def _with_leaky_relu(config: Any) -> Any:
    config.network.activation.kind = "leaky_relu"
    return config


def _with_injection(config: Any) -> Any:
    """A new network beside the old one after half of the run."""
    config.optimizer.name = "adam_ages"
    config.network.injection.times = 1
    config.network.injection.scope = "network"
    config.interventions = ({"module": "injection", "at_frames": (_run_frames(config) // 2,)},)
    return config


def _run_frames(config: Any) -> int:
    return config.environment.num_tasks * config.environment.frames_per_task


ARMS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda config: config,
    "ln": modifiers.with_layer_norm,
    "nap": modifiers.with_nap,
    "nap_schedule": _with_rewarming,
    "nap_linear": _with_decay,
    "l2_init": _with_l2_init,
    "redo": _with_redo,
    "reset": modifiers.with_resets,
    # Those of Cheng, Chen and Ma.
    "l2": _with_l2,
    "incremental_l2": _with_incremental_l2,
    "periodic_l2": _with_periodic_l2,
    "ln_after": _with_norm_after,
    "leaky_relu": _with_leaky_relu,
    "injection": _with_injection,
}
