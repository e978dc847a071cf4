"""Variants of networks on streams of labels: architectures, nonlinearities, silenced units."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from analysis import run_records
from analysis.claims import evidence as evidence_lib
from analysis.claims.experiments import contract, streams, task_quantities
from analysis.claims.experiments.contract import Variant
from analysis.figures import stream_figure

ARCHITECTURES: Mapping[str, Variant] = {
    f"architectures_{kind}_{arm}": Variant(f"{kind}:{arm}")
    for kind in ("cnn", "residual", "transformer")
    for arm in ("ln", "nap")
}


HELD_OUT = {arm: f"architectures_residual_{arm}" for arm in ("plain", "ln", "nap")}


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
        (11, 20),
        contract.VariantSweep("supervised/architectures", ARCHITECTURES, seeds=5),
        {
            "loss": task_quantities.last_rows("train", "loss"),
            "norm_deviation": task_quantities.norm_deviation,
        },
        [streams.PlottedQuantity("loss", "loss at the end of the task")],
        "table of the NaP paper: residual networks and transformers trained with it on data that "
        "do not change are as good as without",
    )


_accuracy = task_quantities.means("accuracy")

_HELD_OUT_TASK = 9
_HELD_OUT = (
    "environment.each.images=1_797",
    "environment.each.permuted_pixels=false",
    "environment.each.held_out=597",
    f"environment.each.held_out_task={_HELD_OUT_TASK}",
    f"environment.num_tasks={_HELD_OUT_TASK + 1}",
    "environment.frames_per_task=8_000",
    "log.layers_period_frames=0",
    "log.units_period_frames=0",
    # Nothing is learned from what is held out: the rate is 0 by then.
    "optimizer.schedule.name=cosine",
    f"optimizer.schedule.duration={_HELD_OUT_TASK * 500}",
    "optimizer.schedule.end_value=0.0",
)


def held_out() -> contract.Experiment:
    """The accuracy of a residual network on images that it has not learned from."""
    sweep = contract.TunedSweep(
        config="supervised/architectures",
        names={f"residual:{arm}": name for arm, name in HELD_OUT.items()},
        rates={f"residual:{arm}": ("3e-4", "1e-3", "3e-3") for arm in HELD_OUT},
        merit=lambda run: float(np.mean([_accuracy(run, seed)[-1] for seed in run.seeds])),
        seeds=20,
        keys=_HELD_OUT,
    )
    return streams.make(
        "A residual network of eight layers on digits: accuracy on 597 that are held out",
        "CIFAR-10 and ImageNet",
        (6, 25),
        sweep,
        {"accuracy": _accuracy},
        [streams.PlottedQuantity("accuracy", "accuracy before updates; in the last part held out")],
        "table of the NaP paper: with it the accuracies of residual networks are those of the "
        "baselines, or a little higher",
    )


def linearised_units() -> contract.Experiment:
    """Units whose slope is the same for every input, by nonlinearity and norm."""
    linearised = task_quantities.unit_shares("linearised")
    return streams.make(
        "Linearized units of a perceptron whose labels of MNIST are drawn anew",
        "the same, in sizes that the source does not tell",
        (3, 4),
        contract.VariantSweep("supervised/dead_units", UNITS, seeds=5),
        {
            "linearised": task_quantities.at_end(linearised),
            "most_linearised": task_quantities.largest(linearised),
        },
        [
            streams.PlottedQuantity("linearised", "linearized units, end of the task"),
            streams.PlottedQuantity("most_linearised", "linearized units, most within the task"),
        ],
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
        (3, 7),
        run,
        _draw_revival,
        "no figure; text of the NaP paper: with LayerNorm, units that are off get a gradient "
        "through its statistics and come back",
    )


def _draw_revival(found: evidence_lib.Evidence) -> Figure:
    panel = streams.panel(streams.PlottedQuantity("dead", "share of dead units"), found)
    return stream_figure.draw([panel], found.positions, "updates")


def _dead(run: run_records.RunRecord, seed: int) -> np.ndarray:
    """At each measurement of the only task."""
    (of_task,) = task_quantities.unit_shares("dead")(run, seed)
    return of_task
