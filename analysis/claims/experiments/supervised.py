"""Supervised streams (configs/supervised)."""

from collections.abc import Mapping

from analysis.claims.experiments import contract, streams, task_quantities

RANDOM_LABELS = {"plain": "random_labels", "ln": "random_labels_ln", "nap": "random_labels_nap"}

_METHODS = ("none", "redo", "l2_init", "noise", "leaky", "shrink_and_perturb", "l2")


def _named(experiment: str) -> tuple[dict[str, str], dict[str, str]]:
    """By the config's argument the names of arms, without and with NaP."""
    plain = {x: experiment if x == "none" else f"{experiment}_{x}" for x in _METHODS}
    return plain, {f"{x}:nap": f"{experiment}_{x}_nap" for x in _METHODS}


METHODS, METHODS_NAP = _named("methods")
METHODS_CNN, METHODS_CNN_NAP = _named("methods_cnn")

OPTIMIZERS = {
    "adam": ("3e-4", "1e-3", "3e-3"),
    "momentum": ("3e-3", "1e-2", "3e-2"),
    "sgd": ("3e-2", "1e-1", "3e-1"),
}
NORMS = ("plain", "ln", "rms")
DEAD_UNITS = {
    f"{optimizer}:{norm}": "dead_units"
    if (optimizer, norm) == ("adam", "plain")
    else f"dead_units_{optimizer}_{norm}"
    for optimizer in OPTIMIZERS
    for norm in NORMS
}


def random_labels() -> contract.Experiment:
    """Random labels drawn anew: loss, gradient, Jacobian and norms at the end of each task."""
    dead = task_quantities.unit_shares("dead")
    return streams.make(
        "A perceptron that fits random labels of windows of photographs, drawn anew 50 times",
        "the same on CIFAR-10",
        (28, 90),
        contract.TunedSweep(
            config="supervised/random_labels",
            names=RANDOM_LABELS,
            rates=dict.fromkeys(RANDOM_LABELS, ("1e-4", "3e-4", "1e-3")),
            merit=lambda run: (
                -task_quantities.of_last_third(run, task_quantities.last_rows("train", "loss"))
            ),
            seeds=10,
        ),
        {
            "loss": task_quantities.last_rows("train", "loss"),
            "gradient_norm": task_quantities.last_rows("train", "gradient_norm"),
            "input_jacobian": task_quantities.last_rows("network", "input_jacobian"),
            "weight_norm": task_quantities.weight_norm,
            "dead": task_quantities.at_end(dead),
            "sharpness": task_quantities.last_rows("network", "sharpness"),
            "ntk_effective_rank": task_quantities.last_rows("network", "ntk_effective_rank"),
        },
        [
            streams.PlottedQuantity(quantity, label, RANDOM_LABELS)
            for quantity, label in {
                "loss": "loss at the end of the task",
                "input_jacobian": "norm of the input Jacobian",
                "weight_norm": "norm of all weights",
                "gradient_norm": "norm of the gradient",
                "sharpness": "largest eigenvalue of the Hessian",
                "dead": "share of dead units",
            }.items()
        ],
        "fourth figure of the NaP paper: without normalization the norms of Jacobian and "
        "parameters grow and the loss rises most; LayerNorm is slower, with NaP all three stay",
    )


def dead_units() -> contract.Experiment:
    """Dead units after labels change, by optimizer and norm."""
    dead = task_quantities.unit_shares("dead")
    return streams.make(
        "Dead units of a perceptron whose labels of MNIST are drawn anew, three optimizers by "
        "three norms",
        "the same, in sizes that the source does not tell",
        (7, 22),
        contract.TunedSweep(
            config="supervised/dead_units",
            names=DEAD_UNITS,
            rates={arm: OPTIMIZERS[arm.partition(":")[0]] for arm in DEAD_UNITS},
            merit=task_quantities.accuracy,
            seeds=10,
        ),
        {
            "dead": task_quantities.at_end(dead),
            "most_dead": task_quantities.largest(dead),
            "pre_mean": task_quantities.at_end(task_quantities.unit_shares("pre_mean")),
            "pre_variance": task_quantities.at_end(task_quantities.unit_shares("pre_variance")),
            "accuracy": task_quantities.means("accuracy"),
        },
        [
            streams.PlottedQuantity(
                quantity,
                label,
                {norm: DEAD_UNITS[f"{optimizer}:{norm}"] for norm in NORMS},
                optimizer,
            )
            for quantity, label in {
                "most_dead": "dead units, most within the task",
                "dead": "dead units, end of the task",
            }.items()
            for optimizer in OPTIMIZERS
        ],
        "fifth figure of the NaP paper: shares of dead units rise after each draw; with LayerNorm "
        "or RMSNorm they fall again, without they stay",
    )


def methods() -> contract.Experiment:
    """Methods against the loss of plasticity, without and with NaP."""
    title = "Seven methods on random labels of MNIST, without and with NaP"
    return _methods("methods", title, (16, 50), METHODS, METHODS_NAP)


def methods_cnn() -> contract.Experiment:
    """The same in a convolutional network."""
    title = "Seven methods on random labels of digits in a convolutional network"
    return _methods("methods_cnn", title, (25, 85), METHODS_CNN, METHODS_CNN_NAP)


def _methods(
    config: str,
    title: str,
    minutes: tuple[int, int],
    plain: Mapping[str, str],
    projected: Mapping[str, str],
) -> contract.Experiment:
    arms = {**plain, **projected}
    panels = {
        "without NaP": plain,
        "with NaP": {arm.partition(":")[0]: name for arm, name in projected.items()},
    }
    label = "accuracy before each update"
    return streams.make(
        title,
        "the same on CIFAR-10",
        minutes,
        contract.TunedSweep(
            config=f"supervised/{config}",
            names=arms,
            rates=dict.fromkeys(arms, OPTIMIZERS["adam"]),
            merit=task_quantities.accuracy,
            seeds=10,
        ),
        {"accuracy": task_quantities.means("accuracy")},
        [streams.PlottedQuantity("accuracy", label, shown, of) for of, shown in panels.items()],
        "eighth figure of the NaP paper: without NaP the accuracies of the methods differ much, "
        "with it they are higher and nearly the same",
    )
