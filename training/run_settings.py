"""All settings of a run: the sections of a configuration, parsed once and typed from there on."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections

from agents import base as agents_base
from core import checks, formulations, plugins, settings
from envs import base as envs_base
from plasticity.interventions import base as interventions_lib
from replay import base as replay_base
from training.learning import task_switching
from training.system import jax_platform


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """The section `training`."""

    update_period_frames: int = settings.key(
        16, checks.integer(1), "emulator frames for each update", "DQN Zoo"
    )
    target_update_period_frames: int = settings.key(
        32_000, checks.integer(1), "emulator frames between copies to the target network", "DQN Zoo"
    )
    steps_per_call: int = settings.key(
        1,
        checks.integer(1),
        "steps of all environments that are one compiled loop together with their updates; more "
        "than 1 with environments of pure functions alone",
    )
    offline_updates: int = settings.key(
        0,
        checks.integer(0),
        "updates before anything is played, on the data of dataset",
    )
    dataset: str = settings.key(
        "",
        checks.Check("a path, or '' for none", lambda v: isinstance(v, str)),
        "recorded steps that fill the replay before the run (scripts/collect.py)",
    )

    def __post_init__(self):
        """Raises ConfigError for periods, or offline updates, that don't fit each other."""
        if self.target_update_period_frames % self.update_period_frames:
            raise checks.ConfigError(
                f"training.target_update_period_frames = {self.target_update_period_frames}: "
                f"expected a multiple of update_period_frames = {self.update_period_frames}"
            )
        if self.offline_updates and not self.dataset:
            raise checks.ConfigError(
                f"training.offline_updates = {self.offline_updates}: expected 0 without "
                "training.dataset"
            )

    @property
    def target_period_updates(self) -> int:
        """Updates between copies to the target network."""
        return self.target_update_period_frames // self.update_period_frames


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """The section `evaluation`."""

    period_frames: int = settings.key(
        1_000_000,
        checks.integer(0),
        "frames of training between evaluations; 0: none during training",
        "DQN Zoo",
    )
    episodes: int = settings.key(
        20,
        checks.integer(1),
        "that an evaluation averages over",
        "ours; DQN Zoo: all that end within 500k frames",
    )
    num_envs: int = settings.key(8, checks.integer(1), "environments at once")
    max_episode_frames: int = settings.key(
        108_000,
        checks.integer(1),
        "frames after which an episode is cut, should it not end by itself",
        "DQN Zoo",
    )
    all_games: bool = settings.key(
        False,
        checks.boolean(),
        "in a sequence: also on every task played before, or on the present one alone",
    )


@dataclasses.dataclass(frozen=True)
class LogSettings:
    """The section `log`."""

    period_frames: int = settings.key(50_000, checks.integer(1), "frames between rows of train.csv")
    layers_period_frames: int = settings.key(
        200_000,
        checks.integer(0),
        "frames between measurements of each layer (norms, gradients, relative updates); 0: none",
    )
    units_period_frames: int = settings.key(
        0,
        checks.integer(0),
        "frames between measurements of the hidden units (dormant, dead, active ...); 0: none",
    )
    ranks_period_frames: int = settings.key(
        0,
        checks.integer(0),
        "frames between measurements of the ranks of weights and features; 0: none",
    )
    network_period_frames: int = settings.key(
        0,
        checks.integer(0),
        "frames between measurements of churn, Jacobians, the tangent kernel and sharpness, "
        "each as long as hundreds of updates; 0: none",
    )
    probe_size: int = settings.key(
        2_048,
        checks.integer(1),
        "observations, drawn uniformly from the replay, on which units and ranks are measured",
        "Plasticine",
    )
    tensorboard: bool = settings.key(True, checks.boolean(), "whether to write events as well")
    json_lines: bool = settings.key(
        False, checks.boolean(), "whether to write the rows of the CSV files as JSON lines as well"
    )
    wandb: str = settings.key(
        "off",
        checks.one_of("off", "online", "offline"),
        "whether to send the numbers to Weights & Biases as well, or to write them for "
        "`wandb sync`; the extra `wandb` is needed",
    )


@dataclasses.dataclass(frozen=True)
class SnapshotSettings:
    """The section `snapshot`."""

    period_frames: int = settings.key(
        1_000_000,
        checks.integer(1),
        "frames between snapshots; one is also written at the end and on Ctrl-C or SIGTERM",
    )
    keep: int = settings.key(2, checks.integer(1), "how many of the newest stay")
    keep_at: tuple[int, ...] = settings.key(
        (),
        checks.each(checks.integer(1)),
        "frames at which one is written that stays whatever comes after, to branch off from",
    )
    parameters_period_frames: int = settings.key(
        0,
        checks.integer(0),
        "frames between copies of the networks alone, the first at birth, all of which stay; "
        "0: none",
    )


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """A whole configuration except `distributed` (cluster/distributed_settings.py)."""

    name: str = settings.key("rainbow", checks.text(), "of the experiment, and of its directory")
    seed: int = settings.key(1, checks.integer(0, 2**31 - 1), "the first seed")
    num_seeds: int = settings.key(
        1,
        checks.integer(1),
        "independent seeds trained by one program, each with num_envs environments",
    )
    num_envs: int = settings.key(
        16,
        checks.integer(1),
        "environments a seed acts in at once, which share the network's passes; of each actor in a "
        "distributed run",
        "ours; DQN Zoo: 1",
    )
    platform: str = settings.key("auto", checks.one_of("auto", "cpu", "gpu"), "where to compute")
    precision: str = settings.key(
        "default",
        checks.one_of(*jax_platform.PRECISIONS),
        "of products of float32 numbers: float32, or JAX's default, which is TF32 on NVIDIA GPUs "
        "since Ampere and float32 elsewhere",
        "DQN Zoo",
    )
    formulation: str = settings.key(
        "auto",
        checks.one_of(*formulations.NAMES),
        "how an update is written down for the compiler, which changes its numbers by no more than "
        "rounding: reference, as the algorithms read; compute_once, for CPUs: noise and new "
        "moments computed once, not within all that uses them; few_kernels, for GPUs: all noise "
        "drawn at once, joined streams and, with Adam and without interventions, parameters in one "
        "array; pallas: few_kernels, with draws from a prioritized replay, new priorities and the "
        "losses of rainbow and c51 as kernels written by hand, which never ran on a GPU yet; auto: "
        "compute_once on a CPU, few_kernels on a GPU",
    )
    num_frames: int | None = settings.key(
        200_000_000,
        checks.integer(1),
        "emulator frames of each seed; not given, of a sequence: num_passes through its tasks",
        "DQN Zoo",
    )
    num_passes: int = settings.key(
        1, checks.integer(1), "how often a sequence is gone through", "Lyle et al. 2024: 2"
    )
    interventions: tuple[Any, ...] = settings.key(
        (),
        checks.each(checks.section()),
        "a section for each, with its module of plasticity/interventions/, in their order",
    )
    environment: Any = settings.plugin("envs", "atari")
    transition: replay_base.TransitionSettings = settings.section(replay_base.TransitionSettings)
    agent: Any = settings.plugin("agents", "rainbow")
    network: Any = settings.part_of_plugin("agents", "agent", "NetworkSettings")
    optimizer: Any = settings.part_of_plugin("agents", "agent", "OptimizerSettings")
    replay: Any = settings.plugin("replay.device", "prioritized")
    training: TrainingSettings = settings.section(TrainingSettings)
    evaluation: EvaluationSettings = settings.section(EvaluationSettings)
    task_switch: task_switching.SwitchSettings = settings.section(task_switching.SwitchSettings)
    log: LogSettings = settings.section(LogSettings)
    snapshot: SnapshotSettings = settings.section(SnapshotSettings)

    @property
    def sections(self) -> agents_base.Sections:
        """The agent's parts."""
        listed = interventions_lib.parse(self.interventions)
        formulation = formulations.resolve(self.formulation, jax.default_backend())
        return agents_base.Sections(self.agent, self.network, self.optimizer, listed, formulation)

    @property
    def frames_per_step(self) -> int:
        """Emulator frames of an agent step of one environment."""
        return envs_base.frames_per_step(self.environment)

    @property
    def frames_per_task(self) -> int:
        """Frames of one seed in each task of a sequence; 0 where there is only one task."""
        return envs_base.frames_per_task(self.environment)


def default_config(
    environment: str = "atari", agent: str = "rainbow", replay: str = "prioritized"
) -> Any:
    """A ConfigDict of defaults, with the modules named; configs/ start from it."""
    module = plugins.find("agents", agent, "agent.module")
    return settings.to_config(
        RunSettings(
            environment=plugins.find("envs", environment, "environment.module").Settings(),
            agent=module.Settings(),
            network=module.NetworkSettings(),
            optimizer=module.OptimizerSettings(),
            replay=plugins.find("replay.device", replay, "replay.module").Settings(),
        )
    )


def check_is_whole(config: Any) -> None:
    """Checks that a config file has made a configuration, before its sections are looked at.

    Raises:
      ConfigError: if it is something else, or lacks a section or a key that is in none.
    """
    if not isinstance(config, ml_collections.ConfigDict):
        kind = type(config).__name__
        raise checks.ConfigError(f"get_config: expected it to return a ConfigDict, found a {kind}")
    for field in dataclasses.fields(RunSettings):
        if field.name not in config:
            raise checks.ConfigError(
                f"config.{field.name} is missing: expected all of run_settings.default_config()"
            )


def parse(config: ml_collections.ConfigDict) -> RunSettings:
    """The settings of a resolved configuration; its section `distributed` may be anything.

    Raises:
      ConfigError: for the first key that is missing, unknown or out of range, or sections that
        don't fit each other.
    """
    parsed = settings.parse(RunSettings, _own(config))
    _check_injection(parsed)
    _check_tasks(parsed)
    if parsed.evaluation.period_frames:
        asked = f"evaluation.period_frames = {parsed.evaluation.period_frames}"
        envs_base.check_returns(parsed.environment, asked)
    steps = parsed.training.steps_per_call
    if steps > 1 and not envs_base.is_functional(parsed.environment):
        raise checks.ConfigError(
            f"training.steps_per_call = {steps}: expected 1, as environment.module = "
            f"{parsed.environment.module!r} is not made of pure functions"
        )
    return parsed


def _own(config: ml_collections.ConfigDict) -> Mapping[str, Any]:
    return {key: config[key] for key in config if key != "distributed"}


def _check_injection(parsed: RunSettings) -> None:
    """Raises ConfigError if a clock would open the gates of networks that are made anew."""
    listed = interventions_lib.parse(parsed.interventions)
    if parsed.task_switch.reset_params and any(x.module == "injection" for x in listed):
        raise checks.ConfigError(
            "task_switch.reset_params = True: expected False with the intervention injection, "
            "whose gates are open from at_frames on, also in a new network; or one in a trigger"
        )


def _check_tasks(parsed: RunSettings) -> None:
    """Raises ConfigError if a task's frames are no multiple of a step's, or its replay is lost."""
    if parsed.frames_per_task and parsed.training.dataset and parsed.task_switch.clear_replay:
        raise checks.ConfigError(
            "task_switch.clear_replay = True: expected False with training.dataset, which fills "
            "the replay of the first task alone"
        )
    named: dict[str, envs_base.Settings] = {}
    tasks = envs_base.tasks(parsed.environment)
    is_unique = all(named.setdefault(envs_base.task_name(x), x) == x for x in tasks)
    if parsed.evaluation.all_games and not is_unique:
        raise checks.ConfigError(
            "evaluation.all_games = True: expected False, as different tasks of this sequence have "
            "the same name"
        )
    step = parsed.num_envs * parsed.frames_per_step
    if parsed.frames_per_task % step:
        key = envs_base.frames_per_task_key(parsed.environment)
        raise checks.ConfigError(
            f"{key} = {parsed.frames_per_task}: expected a multiple of {step}, the "
            f"frames of a step of num_envs = {parsed.num_envs} environments"
        )
