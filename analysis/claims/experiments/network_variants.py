"""Variants of networks on streams of labels: architectures, nonlinearities, silenced units."""

from collections.abc import Mapping

import numpy as np

from analysis import run_records
from analysis.claims.experiments import contract, streams, task_quantities
from analysis.claims.experiments.contract import Variant
from analysis.figures import stream_figure

ARCHITECTURES: Mapping[str, Variant] = {
    f"architectures_{kind}_{arm}": Variant(f"{kind}:{arm}")
    for kind in ("cnn", "residual", "transformer")
    for arm in ("ln", "nap")
}


UNITS: Mapping[str, Variant] = {
    f"units_{kind}_{norm}": Variant(f"adam:{norm}", (f"network.activation.kind={kind}",))
    for kind in ("relu", "gelu")
    for norm in ("plain", "ln")
}


REVIVALS: Mapping[str, Variant] = {
    "revival" if norm == "plain" else f"revival_{norm}": Variant(norm)
    for norm in ("plain", "rms", "ln", "ln_constant")
}


def architectures() -> contract.Experiment:
    """Convolutional, residual and attention networks, with norms and with NaP."""
    return streams.make(
        "A convolutional network, a residual one and a transformer on digits whose pixels are "
        "permuted in each of 15 tasks",
        "images and text at the source's scale",
        (25, 45),
        contract.VariantSweep("supervised/architectures", ARCHITECTURES, seeds=5),
        {
            "loss": task_quantities.last_rows("train", "loss"),
            "norm_deviation": task_quantities.norm_deviation,
        },
        streams.PlottedQuantity("loss", "loss at the end of the task"),
        "table of the NaP paper: residual networks and transformers trained with it on data that "
        "do not change are as good as without",
    )


def linearised_units() -> contract.Experiment:
    """Units whose slope is the same for every input, by nonlinearity and norm."""
    linearised = task_quantities.unit_shares("linearised")
    return streams.make(
        "Linearized units of a perceptron whose labels of MNIST are drawn anew",
        "the same, in sizes that the source does not tell",
        (6, 8),
        contract.VariantSweep("supervised/dead_units", UNITS, seeds=5),
        {
            "linearised": task_quantities.at_end(linearised),
            "most_linearised": task_quantities.largest(linearised),
        },
        streams.PlottedQuantity("linearised", "share of linearized units at the end of the task"),
        "no figure here; the second paper by Lyle et al.: beside units that are off for all inputs "
        "there are units that are linear for all of them, far fewer with LayerNorm",
    )


def revival() -> contract.Experiment:
    """Units that are silenced, and whether they come back."""

    def run(runner: contract.Runner) -> contract.Outcome:
        config = "supervised/revival"
        runs = contract.VariantSweep(config, REVIVALS, seeds=20, first_seed=201).run(runner)
        scores = {"dead": task_quantities.by_arm(runs, _dead)}
        measured = next(run for run in runs if run.is_finished).tables["units"]["updates"]
        return contract.Outcome(runs, scores, np.unique(measured).astype(int).tolist())

    return contract.Experiment(
        "Half of a perceptron's hidden units silenced after 1,000 updates",
        "",
        (6, 15),
        run,
        lambda found: stream_figure.draw(
            found.scores["dead"], found.positions, "updates", "share of dead units"
        ),
        "no figure; text of the NaP paper: with LayerNorm, units that are off get a gradient "
        "through its statistics and come back",
    )


def _dead(run: run_records.RunRecord, seed: int) -> np.ndarray:
    """At each measurement of the only task."""
    (of_task,) = task_quantities.unit_shares("dead")(run, seed)
    return of_task
