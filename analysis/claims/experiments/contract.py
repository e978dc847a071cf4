"""What an experiment is, and two ways to run one: tuned arms, or variants of a config."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis import run_records
from analysis.claims import evidence as evidence_lib
from core import checks

_TUNING_SEEDS = (100, 101)
_SMALL_SEEDS = 5


class Runner(NamedTuple):
    """Where and how an experiment runs.

    Attributes:
      call: (script, arguments) -> runs a script; raises where that is stopped or fails, but for a
        sweep some of whose runs fail.
      root: for the runs; what is there is continued.
      is_full: the size of the protocol, or the small one.
      workers: runs at once.
    """

    call: Callable[[str, Sequence[str]], None]
    root: Path
    is_full: bool
    workers: int

    @property
    def results(self) -> Path:
        """Where the evidence goes."""
        return self.root / "results"

    def seeds(self, full: int, first: int = 1) -> Sequence[int]:
        """Of the runs that count: as many as said in the full size."""
        return range(first, first + (full if self.is_full else _SMALL_SEEDS))

    def sweep(
        self,
        root: Path,
        config: str,
        arms: Sequence[str],
        seeds: Sequence[int],
        keys: Sequence[str],
    ) -> None:
        """Trains arms, the arguments of a config, with each seed; some may fail."""
        arguments = [
            f"--configs=configs/{config}.py",
            f"--arguments={','.join(arms)}",
            f"--seeds={','.join(map(str, seeds))}",
            f"--root={root}",
            f"--workers={self.workers}",
            *("--", *keys),
        ]
        self.call("sweep", arguments)


class Outcome(NamedTuple):
    """Runs and what is kept of them."""

    runs: Sequence[run_records.RunRecord]
    scores: Mapping[str, evidence_lib.Scores]
    positions: Sequence[int]


class Experiment(NamedTuple):
    """What tests claims.

    Attributes:
      title: a line.
      proxy_of: what it stands for; "" if it has the source's own scale.
      minutes: on two cores, of the small size and of the full one.
      run: trains what is missing.
      draw: its figure.
      described: what the source's figure or text shows.
      compared: a quantity of tasks and the arm with which the others' are compared in a table, on
        which no verdict depends; None for no table.
    """

    title: str
    proxy_of: str
    minutes: tuple[int, int]
    run: Callable[[Runner], Outcome]
    draw: Callable[[evidence_lib.Evidence], Figure]
    described: str
    compared: tuple[str, str] | None = None


class Variant(NamedTuple):
    """One of the settings that an experiment compares at the same learning rate.

    Attributes:
      argument: of the config.
      keys: overrides of it, `--config.KEY=VALUE` without the prefix.
    """

    argument: str
    keys: Sequence[str] = ()


def with_l2(argument: str, strength: str) -> Variant:
    """A config's argument with L2 of all parameters."""
    return Variant(argument, (f"interventions=({{'module':'l2','strength':{strength}}},)",))


class VariantSweep(NamedTuple):
    """Variants of a config, which nothing is chosen for.

    Attributes:
      config: in configs/, without .py.
      variants: by the name that their runs get.
      seeds: of the full size.
      keys: of all variants.
      first_seed: another one than 1 where pilots have used that.
    """

    config: str
    variants: Mapping[str, Variant]
    seeds: int
    keys: Sequence[str] = ()
    first_seed: int = 1

    def run(self, runner: Runner) -> Sequence[run_records.RunRecord]:
        """Trains what is missing, and returns all runs."""
        roots = {name: runner.root / "test" / name for name in self.variants}
        for name, variant in self.variants.items():
            keys = (f"name={name}", *self.keys, *variant.keys)
            overrides = [f"--config.{key}" for key in keys]
            seeds = runner.seeds(self.seeds, self.first_seed)
            runner.sweep(roots[name], self.config, [variant.argument], seeds, overrides)
        return run_records.find(list(roots.values()))


class TunedSweep(NamedTuple):
    """Arms of a config, each of which gets the best of its learning rates.

    Attributes:
      config: in configs/, without .py.
      names: the name of the runs of each arm, an argument of the config.
      rates: that are tried for each arm, as many for all; the small size has the middle one.
      merit: (run) -> how good it is.
      seeds: of the full size.
      keys: overrides of all arms, `--config.KEY=VALUE` without the prefix.
    """

    config: str
    names: Mapping[str, str]
    rates: Mapping[str, Sequence[str]]
    merit: Callable[[run_records.RunRecord], float]
    seeds: int
    keys: Sequence[str] = ()

    def run(self, runner: Runner) -> Sequence[run_records.RunRecord]:
        """Tunes in the full size, trains, and returns the runs that count."""
        middle = {arm: rates[len(rates) // 2] for arm, rates in self.rates.items()}
        chosen = self._best(runner) if runner.is_full else middle
        root = runner.root / "test"
        self._sweep(runner, root, chosen, runner.seeds(self.seeds))
        return run_records.find([root / rate for rate in dict.fromkeys(chosen.values())])

    def _best(self, runner: Runner) -> Mapping[str, str]:
        """Of each arm the rate with the highest mean merit, on seeds of their own.

        Raises:
          ConfigError: if there is an arm with a failed run at every rate.
        """
        merits = self._tune(runner)
        best = {}
        for arm, rates in merits.items():
            means = {
                rate: float(np.mean(list(by_seed.values()))) for rate, by_seed in rates.items()
            }
            # A rate with which a run does not stay finite is none to choose.
            finite = {rate: mean for rate, mean in means.items() if math.isfinite(mean)}
            if not finite:
                raise checks.ConfigError(
                    f"{runner.root / 'tuning'}: {arm} has a failed run at every learning rate"
                )
            best[arm] = max(finite, key=lambda rate: finite[rate])
        evidence_lib.write_tuning(runner.results, merits)
        return best

    def _tune(self, runner: Runner) -> Mapping[str, Mapping[str, Mapping[int, float]]]:
        """The merits of runs by arm, rate and seed; nan of those that failed."""
        found: dict[str, dict[str, dict[int, float]]] = {arm: {} for arm in self.names}
        arms = {name: arm for arm, name in self.names.items()}
        (number,) = {len(rates) for rates in self.rates.values()}
        for i in range(number):
            tried = {arm: rates[i] for arm, rates in self.rates.items()}
            root = runner.root / "tuning" / str(i)
            self._sweep(runner, root, tried, _TUNING_SEEDS)
            for arm, rate in tried.items():
                found[arm][rate] = dict.fromkeys(_TUNING_SEEDS, math.nan)
            for rate in dict.fromkeys(tried.values()):
                for run in run_records.find([root / rate]):
                    # What an earlier choice of arms or rates has left is not asked for.
                    arm = arms.get(run.name)
                    if arm is not None and tried[arm] == rate and run.is_finished:
                        found[arm][rate] |= dict.fromkeys(run.seeds, self.merit(run))
        return found

    def _sweep(
        self,
        runner: Runner,
        root: Path,
        chosen: Mapping[str, str],
        seeds: Sequence[int],
    ) -> None:
        for rate in dict.fromkeys(chosen.values()):
            arms = [arm for arm in self.names if chosen[arm] == rate]
            keys = [f"--config.{key}" for key in (*self.keys, f"optimizer.learning_rate={rate}")]
            runner.sweep(root / rate, self.config, arms, seeds, keys)
