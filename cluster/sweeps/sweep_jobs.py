"""What a sweep consists of, and whether all of it can be run."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import ml_collections
from absl import flags
from ml_collections import config_flags

from agents import optimizers
from core import checks, flag_errors
from envs import base as envs_base
from training import derived, experiment, run_directory, run_settings
from training.learning import update_schedule
from training.system import memory


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
      config: the file, e.g. "configs/rainbow.py".
      argument: what goes after its colon, e.g. "pong"; "" for nothing.
      seed: the run's.
      overrides: further flags, each "--config.KEY=VALUE".
    """

    config: str
    argument: str
    seed: int
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Where its files are under the sweep's root."""
        return f"{Path(self.config).stem}/{self.argument or 'default'}/seed_{self.seed}"

    @property
    def config_with_argument(self) -> str:
        """As `--config` takes it."""
        return f"{self.config}:{self.argument}" if self.argument else self.config

    @property
    def config_flags(self) -> list[str]:
        """The flags that choose the configuration."""
        first = [f"--config={self.config_with_argument}", f"--config.seed={self.seed}"]
        return [*first, *self.overrides]

    def command(self, root: Path) -> list[str]:
        """Trains, or continues a training that was stopped."""
        program = [sys.executable, "-m", "scripts.train"]
        return [*program, *self.config_flags, f"--run_dir={root / self.name}"]

    def __str__(self) -> str:
        return f"{self.config_with_argument} seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class Grid:
    """A sweep as the user asks for it: every config with every argument and seed.

    Attributes:
      configs: files; one that brings its own argument (`file.py:small`) has no other.
      arguments: of all other configs; none means that they get none.
      seeds: of all of them.
      overrides: flags "--config.KEY=VALUE" of all of them.
    """

    configs: Sequence[str]
    arguments: Sequence[str]
    seeds: Sequence[int]
    overrides: Sequence[str] = ()

    def jobs(self) -> list[Job]:
        """The jobs; one seed of everything comes before the next seed.

        Raises:
          ConfigError: if there are none, two would share a directory, or an override is no
            `--config.KEY=VALUE`.
        """
        for key in ("configs", "seeds"):
            if not getattr(self, key):
                raise checks.ConfigError(f"{key} is empty: expected one or several, with commas")
        for key in ("configs", "arguments"):
            if "" in getattr(self, key):
                given = ",".join(getattr(self, key))
                raise checks.ConfigError(f"{key} = {given!r}: expected something between commas")
        _check_overrides(self.overrides)
        if self.arguments and all(":" in config for config in self.configs):
            raise checks.ConfigError(
                f"arguments = {','.join(self.arguments)!r}: expected none, as each of the configs "
                "is given with its own"
            )
        pairs = [pair for config in self.configs for pair in self._with_arguments(config)]
        overrides = tuple(self.overrides)
        jobs = [Job(*pair, seed, overrides) for seed in self.seeds for pair in pairs]
        _check_names(jobs)
        return jobs

    def _with_arguments(self, config: str) -> list[tuple[str, str]]:
        file, colon, own = config.partition(":")
        return [(file, own)] if colon else [(file, other) for other in self.arguments or ("",)]


def parse_seeds(values: Sequence[str]) -> list[int]:
    """Parses seeds; raises ConfigError for one that is not an integer >= 0."""
    for value in values:
        if not value.isdecimal():
            raise checks.ConfigError(f"seeds = {value!r}: expected integers >= 0, such as 1,2,3")
    return [int(value) for value in values]


def split(override: str) -> tuple[str, str]:
    """The key, as "--config.KEY", and the value."""
    key, _, value = override.partition("=")
    return key, value


def _check_overrides(overrides: Sequence[str]) -> None:
    for override in overrides:
        if not override.startswith("--config.") or "=" not in override:
            raise checks.ConfigError(f"{override!r}: expected --config.KEY=VALUE after --")
        if override.startswith("--config.seed="):
            raise checks.ConfigError(f"{override!r}: expected the seeds in --seeds")
    keys = [split(override)[0] for override in overrides]
    for key in keys:
        if keys.count(key) > 1:
            raise checks.ConfigError(f"{key}: given {keys.count(key)} times, expected once")


def _check_names(jobs: Sequence[Job]) -> None:
    """Raises ConfigError for a job with no directory of its own."""
    seen: dict[str, Job] = {}
    for job in jobs:
        if "/" in job.argument or job.argument.startswith("."):
            raise checks.ConfigError(
                f"arguments = {job.argument!r}: expected the name of a game, size or number, "
                "which names a directory as well"
            )
        if job.name in seen:
            raise checks.ConfigError(
                f"configs, arguments, seeds: {job} and {seen[job.name]} would both be "
                f"{job.name}, expected each once"
            )
        seen[job.name] = job


def verify(jobs: Sequence[Job], root: Path, num_workers: int = 1) -> None:
    """Checks the configurations of all jobs as far as possible without starting anything.

    Args:
      jobs: of a sweep.
      root: of its files.
      num_workers: how many run at once on this machine; 0: they run elsewhere.

    Raises:
      ConfigError: for the first job with a bad file, argument, key or value, for seeds of a
        config that are closer together than its num_seeds, for a run that is asked for twice,
        for a directory that holds something else or a run of another configuration, as its file
        has changed since, and for replays that don't fit into the memory at once.
    """
    seen: dict[str, Job] = {}
    replays: dict[tuple[str, str], tuple[int, int]] = {}
    last_seeds: dict[tuple[str, str], range] = {}
    for job in sorted(jobs, key=lambda job: job.seed):
        config = load(job)
        try:
            settings = parse(config)
        except checks.ConfigError as error:
            raise checks.ConfigError(f"{job}: {error}") from error
        run_directory.check(root / job.name, config)
        same = seen.setdefault(json.dumps(derived.resolve(config).to_dict(), sort_keys=True), job)
        if same is not job:
            raise checks.ConfigError(
                f"configs, arguments: {job} is {same} once more: expected each run once"
            )
        earlier = last_seeds.get((job.config, job.argument), range(0))
        if job.seed in earlier:
            raise checks.ConfigError(
                f"seeds = {job.seed}: {job.config_with_argument} has num_seeds = "
                f"{settings.num_seeds}, so seed {earlier.start} trains it already"
            )
        last_seeds[job.config, job.argument] = range(job.seed, job.seed + settings.num_seeds)
        if num_workers and (job.config, job.argument) not in replays and _uses_host(settings):
            replays[job.config, job.argument] = (
                _replay_bytes(settings),
                settings.replay.capacity,
            )
    if replays:
        largest, capacity = max(replays.values())
        num_at_once = min(num_workers, len(jobs))
        what = f"workers = {num_at_once}"
        memory.check_replay(largest * num_at_once, capacity, what, memory.host_bytes())


def _uses_host(settings: run_settings.RunSettings) -> bool:
    """Whether a run's replay is in host memory; touches no device, as the runs need them."""
    has_gpu = Path("/dev/nvidiactl").exists()
    return settings.platform == "cpu" or (settings.platform == "auto" and not has_gpu)


def _replay_bytes(settings: run_settings.RunSettings) -> int:
    spec, _ = envs_base.make_specs(settings.environment)
    return memory.replay_bytes(experiment.make_replay(settings, spec), settings.num_seeds)


def parse(config: ml_collections.ConfigDict) -> run_settings.RunSettings:
    """The settings of a config as given, checked as far as possible without emulators.

    Shapes and the network are checked when a run starts.

    Raises:
      ConfigError: for the first bad key or value.
    """
    settings = run_settings.parse(derived.resolve(config))
    if settings.training.dataset and not Path(settings.training.dataset).is_file():
        raise checks.ConfigError(
            f"training.dataset = {settings.training.dataset!r}: expected a file"
        )
    experiment.check_filling(settings)
    update_schedule.UpdateSchedule.make(settings)
    optimizers.check_schedules(settings.optimizer, settings.training.update_period_frames)
    return settings


def load(job: Job) -> ml_collections.ConfigDict:
    """Loads a job's configuration as `scripts.train` does.

    Raises:
      ConfigError: if there is no such file, it does not take the argument, or a key or value
        does not fit.
    """
    if not Path(job.config).is_file():
        raise checks.ConfigError(f"configs = {job.config!r}: expected a file")
    given = job.config_flags
    config = _parse(given[:1])
    # One more at a time: the errors of ml_collections don't say which one they are about.
    for end in range(2, len(given) + 1):
        config = _parse(given[:end])
    return config


def _parse(given: Sequence[str]) -> ml_collections.ConfigDict:
    values = flags.FlagValues()
    argv = ["sweep", *given]
    try:
        holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
        values(argv)
        config = holder.value
        run_settings.check_is_whole(config)
        flag_errors.check_sections(config, given)
        return config
    except Exception as error:  # of a bad file, argument, key or value; or of the file's own code
        culprit = " ".join(dict.fromkeys((given[0], given[-1])))
        message = flag_errors.describe(error, given)
        shown = message if message.startswith("--") else f"{culprit}: {message}"
        raise checks.ConfigError(shown) from error
