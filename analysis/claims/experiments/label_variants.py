"""Variants of one stream of labels, at one learning rate: decays, scales, kinds of change."""

from collections.abc import Mapping

import numpy as np

from analysis import run_records, task_streams
from analysis.claims.experiments import contract, streams, task_quantities
from analysis.claims.experiments.contract import Variant
from analysis.figures import stream_figure

_LOSS = task_quantities.last_rows("train", "loss")
_CONFIG = "supervised/random_labels"

_STRENGTHS = ("1e-6", "1e-5", "1e-4", "1e-3")


def _with_l2(argument: str, strength: str) -> Variant:
    return Variant(argument, (f"interventions=({{'module':'l2','strength':{strength}}},)",))


DECAYS: Mapping[str, Variant] = {
    "decay_plain": Variant("plain"),
    "decay_plain_l2_1e-5": _with_l2("plain", "1e-5"),
    "decay_ln": Variant("ln"),
    **{f"decay_ln_l2_{strength}": _with_l2("ln", strength) for strength in _STRENGTHS},
    "decay_nap": Variant("nap"),
}

SCALES: Mapping[str, Variant] = {
    f"scales_{rule}": Variant("nap", (f"optimizer.projection.scale_offset={rule}", *more))
    for rule, more in {
        "free": (),
        "joint_sqrt_d": (),
        "decay_to_init": ("optimizer.projection.decay_rate=1e-4",),
    }.items()
}

_UPDATES = 80_000
_PROBE = ("--updates=500", "--draws=3")

STEPS: Mapping[str, Variant] = {
    f"relabelled_in_{steps}": Variant(
        "plain",
        (
            f"environment.each.tasks_per_relabelling={steps}",
            f"environment.num_tasks={20 * steps}",
            f"environment.frames_per_task={16 * _UPDATES // (20 * steps)}",
        ),
    )
    for steps in (1, 10, 100)
}
"""All labels at once, or in ten or a hundred steps, in as many updates."""

RESCALED: Mapping[str, Variant] = {
    "rescaled_no": Variant("plain"),
    "rescaled_yes": Variant("plain", ("interventions=({'module':'row_projection'},)",)),
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


ARCHITECTURES: Mapping[str, Variant] = {
    f"architectures_{kind}_{arm}": Variant(f"{kind}:{arm}")
    for kind in ("cnn", "residual", "transformer")
    for arm in ("ln", "nap")
}


def weight_decay() -> contract.Experiment:
    """L2 of four strengths, with and without a norm, beside NaP."""
    return streams.make(
        "Random labels of windows of photographs with L2 of several strengths, and with NaP",
        "the same on CIFAR-10",
        (60, 70),
        contract.Varied(_CONFIG, DECAYS, seeds=5),
        {"loss": _LOSS, "weight_norm": task_quantities.weight_norm},
        streams.Drawn("loss", "loss at the end of the task"),
        "no figure; text of both papers by Lyle et al.: weight decay regularizes too much or "
        "controls the growth of norms too little, and it complements LayerNorm",
    )


def scales() -> contract.Experiment:
    """Scales and offsets of norms under NaP: free, on a sphere, or drawn to where they began."""
    return streams.make(
        "Random labels of windows of photographs with NaP, by what is done with scales and offsets",
        "long runs",
        (25, 50),
        contract.Varied(_CONFIG, SCALES, seeds=10),
        {"loss": _LOSS},
        streams.Drawn("loss", "loss at the end of the task"),
        "no figure; text of the NaP paper: in long runs scales and offsets need a treatment, "
        "jointly or by a decay to their initial values",
    )


def rescaling() -> contract.Experiment:
    """Weights held at their norm where no norm follows."""
    return streams.make(
        "The first random labels of windows of photographs, with each unit's weights kept at their "
        "norm and without a norm behind them",
        "the same on CIFAR-10",
        (4, 15),
        contract.Varied(_CONFIG, RESCALED, seeds=10, keys=("environment.num_tasks=15",)),
        {"loss": _LOSS},
        streams.Drawn("loss", "loss at the end of the task"),
        "no figure; text of the second paper by Lyle et al.: rescaling alone slows learning",
    )


def linearised_units() -> contract.Experiment:
    """Units whose slope is the same for every input, by nonlinearity and norm."""
    linearised = task_quantities.unit_shares("linearised")
    return streams.make(
        "Linearized units of a perceptron whose labels of MNIST are drawn anew",
        "the same, in sizes that the source does not tell",
        (6, 8),
        contract.Varied("supervised/dead_units", UNITS, seeds=5),
        {
            "linearised": lambda run, seed: np.array([x[-1] for x in linearised(run, seed)]),
            "most_linearised": lambda run, seed: np.array([x.max() for x in linearised(run, seed)]),
        },
        streams.Drawn("linearised", "share of linearized units at the end of the task"),
        "no figure here; the second paper by Lyle et al.: beside units that are off for all inputs "
        "there are units that are linear for all of them, far fewer with LayerNorm",
    )


def abruptness() -> contract.Experiment:
    """As many labels changed in the same time: all at once, or a few again and again."""

    def run(place: contract.Place) -> contract.Outcome:
        keys = (
            "task_switch.clear_replay=false",
            "log.period_frames=64_000",
            "log.network_period_frames=0",
            f"snapshot.period_frames={16 * _UPDATES}",
        )
        runs = contract.Varied(_CONFIG, STEPS, seeds=10, keys=keys).run(place)
        for one in runs:
            place.call("probe_plasticity", [f"--run_dir={one.path}", *_PROBE], False)
        scores = {"probe": task_streams.by_arm(runs, _probed)}
        return contract.Outcome(runs, scores, [0])

    return contract.Experiment(
        "The probe after random labels were replaced 20 times, at once or in 10 or 100 steps",
        "the same on CIFAR-10",
        (20, 50),
        run,
        streams.drawing(streams.Drawn("probe", "loss over that of a new network")),
        "no figure; text of the second paper by Lyle et al.: abrupt changes harm more",
    )


def architectures() -> contract.Experiment:
    """Convolutional, residual and attention networks, with norms and with NaP."""
    return streams.make(
        "Random labels of digits fitted by a convolutional network, a residual one and a "
        "transformer, drawn anew 15 times",
        "images and text at the source's scale",
        (25, 45),
        contract.Varied("supervised/architectures", ARCHITECTURES, seeds=5),
        {"loss": _LOSS, "norm_deviation": task_quantities.norm_deviation},
        streams.Drawn("loss", "loss at the end of the task"),
        "table of the NaP paper: residual networks and transformers trained with it on data that "
        "do not change are as good as without",
    )


def revival() -> contract.Experiment:
    """Units that are silenced, and whether they come back."""

    def run(place: contract.Place) -> contract.Outcome:
        config = "supervised/revival"
        runs = contract.Varied(config, REVIVALS, seeds=20, first_seed=201).run(place)
        scores = {"dead": task_streams.by_arm(runs, _dead)}
        measured = runs[0].tables["units"]["updates"]
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


def _probed(run: run_records.RunRecord, seed: int) -> np.ndarray:
    """The geometric mean of the last checkpoint's ratios to a new network [1]."""
    del seed  # these runs have one
    table = run_records.read_table(run.path / "probe.csv")
    ratios = table["mean_loss_ratio"][table["frames"] == run.frames]
    return np.exp(np.log(ratios).mean(keepdims=True))
