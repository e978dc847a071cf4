"""Variants of one stream of random labels: decays, scales, steps of change."""

from collections.abc import Mapping, Sequence

import numpy as np

from analysis import run_records
from analysis.claims.experiments import contract, streams, task_quantities
from analysis.claims.experiments.contract import Variant
from core import checks

_LOSS = task_quantities.last_rows("train", "loss")
_PLOTTED = streams.PlottedQuantity("loss", "loss at the end of the task")
_CONFIG = "supervised/random_labels"

# A higher rate than the config's.
_FAST = "optimizer.learning_rate=1e-3"

_STRENGTHS = ("1e-6", "1e-5", "1e-4", "1e-3", "1e-2")


DECAYS: Mapping[str, Variant] = {
    "decay_plain": Variant("plain"),
    "decay_plain_l2_1e-5": contract.with_l2("plain", "1e-5"),
    "decay_ln": Variant("ln"),
    **{f"decay_ln_l2_{strength}": contract.with_l2("ln", strength) for strength in _STRENGTHS},
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

_TASKS = 20
_IMAGES = 1_200
CHANGES: Mapping[str, Variant] = {
    f"changing_{what}": Variant(
        "plain", tuple(f"environment.each.{key}" for key in ("data=mnist_5k", *keys))
    )
    for what, keys in {
        "nothing": ("labels=own",),
        "labels": (),
        "inputs": ("labels=own", "permuted_pixels=true"),
        "number": ("labels=own", f"growth={_IMAGES // _TASKS}"),
    }.items()
}
"""What is new in a task: new labels, permuted pixels, or more images."""

RESCALED: Mapping[str, Variant] = {
    "rescaled_no": Variant("plain"),
    "rescaled_yes": Variant("plain", ("interventions=({'module':'row_projection'},)",)),
}


def weight_decay() -> contract.Experiment:
    """L2 of four strengths, with and without a norm, beside NaP."""
    return streams.make(
        "Random labels of windows of photographs with L2 of several strengths, and with NaP",
        "the same on CIFAR-10",
        (70, 70),
        contract.VariantSweep(_CONFIG, DECAYS, seeds=5),
        {"loss": _LOSS, "weight_norm": task_quantities.weight_norm},
        [
            _PLOTTED,
            streams.PlottedQuantity("weight_norm", "norm of all weights"),
        ],
        "no figure; text of both papers by Lyle et al.: weight decay regularizes too much or "
        "controls the growth of norms too little, and it complements LayerNorm",
    )


def scales() -> contract.Experiment:
    """Scales and offsets of norms under NaP: free, on a sphere, or drawn to where they began."""
    return streams.make(
        "Random labels of windows of photographs with NaP, by what is done with scales and offsets",
        "long runs",
        (23, 47),
        contract.VariantSweep(_CONFIG, SCALES, seeds=10),
        {"loss": _LOSS},
        [_PLOTTED],
        "no figure; text of the NaP paper: in long runs scales and offsets need a treatment, "
        "jointly or by a decay to their initial values",
    )


def rescaling() -> contract.Experiment:
    """Weights held at their norm where no norm follows."""
    return streams.make(
        "The first random labels of windows of photographs, with each unit's weights kept at their "
        "norm and without a norm behind them",
        "the same on CIFAR-10",
        (1, 2),
        contract.VariantSweep(_CONFIG, RESCALED, seeds=10, keys=(_FAST, "environment.num_tasks=1")),
        {"loss": _LOSS},
        [_PLOTTED],
        "no figure; text of the second paper by Lyle et al.: rescaling alone slows learning",
    )


def abruptness() -> contract.Experiment:
    """As many labels changed in the same time: all at once, or a few again and again."""
    return _probed_variants(
        "The probe after random labels were replaced 20 times, at once or in 10 or 100 steps",
        (9, 22),
        STEPS,
        16 * _UPDATES,
        # With the config's, networks would be dead at the end in any case.
        ("optimizer.learning_rate=1e-4",),
        "no figure; text of the second paper by Lyle et al.: abrupt changes harm more",
    )


def changes() -> contract.Experiment:
    """Streams in which another thing changes."""
    frames = 16 * 2_000
    return _probed_variants(
        "The probe after 20 tasks with new labels, permuted pixels, more images, or nothing new",
        (10, 20),
        CHANGES,
        _TASKS * frames,
        (_FAST, f"environment.num_tasks={_TASKS}", f"environment.frames_per_task={frames}"),
        "no figure; text of the second paper by Lyle et al.: kinds of change differ in what they "
        "do to plasticity",
    )


def _probed_variants(
    title: str,
    minutes: tuple[int, int],
    variants: Mapping[str, Variant],
    frames: int,
    keys: Sequence[str],
    described: str,
) -> contract.Experiment:
    """The probe at the end of runs of so many frames."""

    def run(runner: contract.Runner) -> contract.Outcome:
        of_all = (
            "task_switch.clear_replay=false",
            "log.period_frames=64_000",
            "log.network_period_frames=0",
            f"snapshot.period_frames={frames}",
            *keys,
        )
        runs = contract.VariantSweep(_CONFIG, variants, seeds=10, keys=of_all).run(runner)
        for one in runs:
            if one.is_finished:
                runner.call("probe_plasticity", [f"--run_dir={one.path}", *_PROBE])
        scores = {
            "probe": task_quantities.by_arm(runs, _probed),
            "accuracy": task_quantities.by_arm(runs, _last_accuracy),
        }
        return contract.Outcome(runs, scores, [0])

    plotted = streams.PlottedQuantity("probe", "loss over that of a new network")
    return contract.Experiment(
        title, "the same on CIFAR-10", minutes, run, streams.draw_tasks([plotted]), described
    )


def _last_accuracy(run: run_records.RunRecord, seed: int) -> np.ndarray:
    """In the last row [1]: whether anything is learned any more."""
    return task_quantities.last_rows("train", "accuracy")(run, seed)[-1:]


def _probed(run: run_records.RunRecord, seed: int) -> np.ndarray:
    """The geometric mean of the last checkpoint's ratios to a new network [1].

    Raises:
      ConfigError: if it was not probed yet.
    """
    del seed  # these runs have one
    table = run_records.read_table(run.path / "probe.csv")
    ratios = table["mean_loss_ratio"][table["frames"] == run.frames] if table else np.zeros(0)
    if not ratios.size:
        raise checks.ConfigError(
            f"{run.path / 'probe.csv'}: expected a probe at frame {run.frames}: scripts.claim "
            "makes one without --read"
        )
    return np.exp(np.log(ratios).mean(keepdims=True))
