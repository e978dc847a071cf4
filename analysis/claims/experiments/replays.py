"""Effective rates of a run whose norms grow, replayed on weights that stay on their spheres."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from analysis import identities, run_records
from analysis.claims import evidence as evidence_lib
from analysis.claims.experiments import classification, contract, streams, task_quantities
from analysis.figures import stream_figure
from plasticity import projection
from training import run_directory

REPLAYS = {
    arm: "replayed_schedule" if arm == "free" else f"replayed_schedule_{arm}"
    for arm in ("free", "layer_wise", "global", "constant")
}

IDENTITIES = {
    (optimizer, rates): f"identities_{optimizer}_{rates}"
    for optimizer in identities.OPTIMIZERS
    for rates in ("replayed", "constant")
}
"""Projected runs in float64, by optimizer: with the free run's effective rates, or constant."""

# Reaches its balance with the growth in 1 / (rate * decay) = 3,333 of 40,000 updates.
_DECAYED = (
    "optimizer.name=adamw",
    "optimizer.kwargs={'eps':1e-8,'weight_decay':0.1}",
)
FREE: Mapping[str, Sequence[str]] = {"annealing_ln": (), "annealing_ln_decayed": _DECAYED}
REPLAYED = {name: f"{name}_replayed" for name in FREE}

_SCHEDULE = "optimizer.schedule.norms_file"


def replayed_schedule() -> contract.Experiment:
    """A free run's rates on projected weights: for each layer, for all, or constant."""

    def run(runner: contract.Runner) -> contract.Outcome:
        config, test = "supervised/replayed_schedule", runner.root / "test"
        seeds = runner.seeds(10)
        runner.sweep(test / "free", config, ["free"], seeds, [])
        replays = [arm for arm in REPLAYS if arm != "free"]
        for seed, norms_file in _recordings(run_records.find([test / "free"])):
            root = test / f"replays_{seed}"
            runner.sweep(root, config, replays, [seed], [f"--config.{norms_file}"])
        return streams.outcome(_found(runner), {"loss": task_quantities.means("loss")})

    return contract.Experiment(
        "Effective rates of a run with LayerNorm replayed on projected weights, on random labels",
        "",
        (6, 12),
        run,
        streams.draw_tasks(streams.PlottedQuantity("loss", "mean loss of the task")),
        "sixth figure of the NaP paper: with rates scaled layer by layer the curve is the free "
        "run's, with one global scale nearly, without a decay not",
    )


def annealing() -> contract.Experiment:
    """LayerNorm without and with weight decay, and NaP with the effective rates of either."""

    def run(runner: contract.Runner) -> contract.Outcome:
        seeds, test = runner.seeds(20), runner.root / "test"
        for name, keys in FREE.items():
            _sweep(runner, f"free/{name}", "c51:ln", seeds, (f"name={name}", *keys))
            for seed, norms_file in _recordings(run_records.find([test / "free" / name])):
                keys_ = (
                    f"name={REPLAYED[name]}",
                    "optimizer.projection.moments=rescale",
                    "optimizer.schedule.name=norm_growth",
                    norms_file,
                )
                _sweep(runner, f"replays/{name}_{seed}", "c51:nap", [seed], keys_)
        reward = task_quantities.means(classification.QUANTITY)
        return streams.outcome(_found(runner), {classification.QUANTITY: reward})

    return contract.Experiment(
        "LayerNorm with and without weight decay on the stream whose images stay, and NaP with the "
        "effective rates of either",
        classification.PROXY,
        (6, 20),
        run,
        streams.draw_tasks(classification.PLOTTED),
        "no figure; text of a summary of the NaP paper: weight decay harms value-based agents, as "
        "it disturbs the decay of effective rates that growing norms are",
    )


def in_float64() -> contract.Experiment:
    """The identities themselves, on a network for which they are exact."""
    return contract.Experiment(
        "Free runs in float64 by three optimizers, and projected ones with their effective rates "
        "or constant ones",
        "",
        (1, 2),
        _run_identities,
        _draw_identities,
        "no figure; text of the NaP paper: behind a norm, growth of weights is a decay of the "
        "effective rate, and a projected run with that decay is the same function",
    )


def _sweep(
    runner: contract.Runner, place: str, arm: str, seeds: Sequence[int], keys: Sequence[str]
) -> None:
    """On the stream whose images stay, with norms recorded and projected alike: of weights."""
    of_all = (
        "environment.each.stream=label",
        "optimizer.learning_rate=3e-3",
        "optimizer.projection.scale_offset=free",
        "log.layers_period_frames=1_600",
    )
    overrides = [f"--config.{key}" for key in (*of_all, *keys)]
    runner.sweep(runner.root / "test" / place, classification.CONFIG, [arm], seeds, overrides)


def _recordings(runs: Sequence[run_records.RunRecord]) -> Iterator[tuple[int, str]]:
    """Of finished runs of one seed each, the seed and the key with its recorded norms."""
    for run in runs:
        if run.is_finished:
            (seed,) = run.seeds
            yield seed, f"{_SCHEDULE}={run.path}/norms_seed_{seed}.csv"


def _found(runner: contract.Runner) -> list[run_records.RunRecord]:
    """All runs; of each another file of norms, which is no difference that counts."""
    runs = run_records.find([runner.root / "test"])
    return [run._replace(config=_without_norms_file(run.config)) for run in runs]


def _without_norms_file(config: Mapping[str, Any]) -> Mapping[str, Any]:
    optimizer = config["optimizer"]
    schedule = {**optimizer["schedule"], "norms_file": ""}
    return {**config, "optimizer": {**optimizer, "schedule": schedule}}


def _run_identities(runner: contract.Runner) -> contract.Outcome:
    seeds = list(runner.seeds(10, first=201))
    scores: dict[str, dict[str, dict[int, np.ndarray]]] = {"distance": {}, "growth": {}}
    runs = []
    for optimizer in identities.OPTIMIZERS:
        begun = time.perf_counter()
        with identities.float64():
            found = {seed: _compare(identities.Problem(seed), optimizer) for seed in seeds}
        seconds = time.perf_counter() - begun
        for rates in ("replayed", "constant"):
            name = IDENTITIES[optimizer, rates]
            of_rates = {seed: compared[rates] for seed, compared in found.items()}
            scores["distance"][name] = of_rates
            scores["growth"][name] = {seed: x["growth"] for seed, x in found.items()}
            runs.append(_record(runner, name, optimizer, seeds, seconds / 2))
    return contract.Outcome(runs, scores, range(identities.UPDATES))


def _compare(problem: identities.Problem, optimizer: str) -> dict[str, np.ndarray]:
    """Before each update [T], distances of projected runs' losses to the free one's, and `growth`.

    That is how many times its first norm the layer has that grew least.
    """
    free = identities.free(problem, optimizer)
    # Moments belong to gradients, which shrink as norms grow; SGD has none to rescale.
    keeping = identities.keeping_moments(identities.FREE_SCALES)
    chosen = keeping if optimizer == "sgd" else identities.FREE_SCALES
    replay = identities.replay(optimizer, identities.recorded(free.norms), chosen)
    constant = projection.project(identities.OPTIMIZERS[optimizer][0](), keeping)
    distance = {
        rates: np.abs(problem.train(used, identities.FREE_SCALES).losses - free.losses)
        for rates, used in (("replayed", replay), ("constant", constant))
    }
    growth = np.min([norms / norms[0] for norms in free.norms.values()], axis=0)
    return {**distance, "growth": np.asarray(growth)}


def _record(
    runner: contract.Runner, name: str, optimizer: str, seeds: Sequence[int], seconds: float
) -> run_records.RunRecord:
    """What a run's directory would tell, of runs that have none."""
    updates = identities.UPDATES
    config = {
        "name": name,
        "seed": seeds[0],
        "num_seeds": len(seeds),
        "num_frames": updates,
        "optimizer": optimizer,
        "code": identities.__name__,
        "jax": jax.__version__,
    }
    train = {"frames": np.array([updates]), "elapsed_seconds": np.array([seconds])}
    starts = [run_directory.code_and_machine()]
    return run_records.RunRecord(runner.root / name, config, {"train": train}, starts)


def _draw_identities(found: evidence_lib.Evidence) -> Figure:
    # What is exactly 0 has no place on the axis.
    scores = {
        arm: {seed: np.maximum(x, 1e-17) for seed, x in by_seed.items()}
        for arm, by_seed in found.scores["distance"].items()
    }
    label = "distance of the loss to the free run's"
    figure = stream_figure.draw(scores, found.positions, "updates", label)
    figure.axes[0].set_yscale("log")
    return figure
