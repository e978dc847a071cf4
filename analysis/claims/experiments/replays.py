"""Effective rates of a run whose norms grow, replayed on weights that stay on their spheres."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis import run_records
from analysis.claims import evidence as evidence_lib
from analysis.claims.experiments import classification, contract, streams, task_quantities
from analysis.figures import stream_figure
from core import checks

REPLAYS = {
    arm: "replayed_schedule" if arm == "free" else f"replayed_schedule_{arm}"
    for arm in ("free", "layer_wise", "global", "constant")
}

OPTIMIZERS = ("sgd", "momentum", "adam")
IDENTITIES = {
    (optimizer, rates): f"identities_{optimizer}_{rates}"
    for optimizer in OPTIMIZERS
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
        streams.draw_tasks([streams.PlottedQuantity("loss", "mean loss of the task")]),
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
        streams.draw_tasks([classification.PLOTTED]),
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
    problems = list(runner.seeds(10, first=201))
    output = runner.root / "test"
    numbers = ",".join(map(str, problems))
    runner.call("identities", [f"--problems={numbers}", f"--output={output}"])
    table = run_records.read_table(output / "distances.csv")
    if not table:
        raise checks.ConfigError(
            f"{output / 'distances.csv'}: expected what scripts.claim measures without --read"
        )
    updates = np.unique(table["update"]).astype(int)
    scores: dict[str, dict[str, dict[int, np.ndarray]]] = {"distance": {}, "growth": {}}
    for (optimizer, rates), name in IDENTITIES.items():
        is_ours = (table["optimizer"] == optimizer) & (table["rates"] == rates)
        for quantity, by_name in scores.items():
            by_name[name] = {
                problem: table[quantity][is_ours & (table["problem"] == problem)]
                for problem in problems
            }
    starts = run_records.read_starts(output / "provenance.jsonl")
    runs = [_record(output, name, problems, len(updates), starts) for name in IDENTITIES.values()]
    return contract.Outcome(runs, scores, updates.tolist())


def _record(
    output: Path,
    name: str,
    problems: Sequence[int],
    num_updates: int,
    starts: Sequence[Mapping[str, Any]],
) -> run_records.RunRecord:
    """What a run's directory would tell, of a share of what was measured at once."""
    config = {
        "name": name,
        "seed": problems[0],
        "num_seeds": len(problems),
        "num_frames": num_updates,
    }
    seconds = starts[-1]["elapsed_seconds"] / len(IDENTITIES)
    train = {"frames": np.array([num_updates]), "elapsed_seconds": np.array([seconds])}
    return run_records.RunRecord(output / name, config, {"train": train}, starts)


def _draw_identities(found: evidence_lib.Evidence) -> Figure:
    # What is exactly 0 has no place on the axis.
    scores = {
        arm: {seed: np.maximum(x, 1e-17) for seed, x in by_seed.items()}
        for arm, by_seed in found.scores["distance"].items()
    }
    label = "distance of the loss to the free run's"
    panel = stream_figure.Panel(scores, label, is_log=True)
    return stream_figure.draw([panel], found.positions, "updates")
