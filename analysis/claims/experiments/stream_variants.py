"""Variants of agents on streams of classification tasks: projections, discounts, decays."""

from collections.abc import Mapping

import numpy as np

from analysis import run_records
from analysis.claims.experiments import classification, contract, streams, task_quantities
from analysis.claims.experiments.contract import Variant

PERIODS: Mapping[str, Variant] = {
    f"projected_every_{period}": Variant(
        "c51:nap", (f"optimizer.projection.period_updates={period}",)
    )
    for period in (1, 100, 1_000)
}

DISCOUNTS: Mapping[str, Variant] = {
    f"discount_{discount}": Variant("mse:plain", (f"transition.discount={discount}",))
    for discount in ("0.0", "0.9", "0.99")
}

DECAYS: Mapping[str, Variant] = {
    "stream_plain": Variant("c51:plain"),
    "stream_ln": Variant("c51:ln"),
    **{
        f"stream_ln_l2_{strength}": contract.with_l2("c51:ln", strength)
        for strength in ("1e-7", "1e-5", "1e-3")
    },
}


# Tasks: a measurement of the network is as long as hundreds of updates.
_EVERY = 5

VALUES: Mapping[str, Variant] = {
    f"values_{arm}": Variant(f"c51:{arm}") for arm in ("plain", "ln", "nap")
}

# Once the last hidden layer's features have lost a fifth of their rank, averaged over a task.
_WHEN_RANK_FALLS = (
    "({'module':'trigger','metric':'srank','threshold':0.2,'momentum':0.9,'period_frames':800,"
    "'layers':'^action_hidden','operation':{'module':'injection','at_frames':()}},)"
)
INJECTIONS: Mapping[str, Variant] = {
    "injected_never": Variant("mse:plain"),
    "injected_at_half": Variant("mse:injection"),
    "injected_when_rank_falls": Variant("mse:injection", (f"interventions={_WHEN_RANK_FALLS}",)),
}

_NO_FIGURE = "no figure; text of"


def projection_periods() -> contract.Experiment:
    """NaP after each update, or after many."""
    return _make(
        "NaP with C51 on the stream, projected after every 1, 100 and 1,000 updates",
        (3, 9),
        contract.VariantSweep(classification.CONFIG, PERIODS, seeds=20),
        f"{_NO_FIGURE} the NaP paper: projecting every 1,000 updates is nearly as good",
    )


def discounts() -> contract.Experiment:
    """Values of different sizes for the same rewards, by the discount."""
    return _make(
        "Double DQN with half the squared error on the stream, discounts 0, 0.9 and 0.99",
        (3, 9),
        contract.VariantSweep(classification.CONFIG, DISCOUNTS, seeds=20),
        f"{_NO_FIGURE} the second paper by Lyle et al.: large targets destroy plasticity",
        proxy_of="regression on targets of growing size",
    )


def decays() -> contract.Experiment:
    """LayerNorm with L2 of three strengths."""
    return _make(
        "C51 on the stream with LayerNorm and L2 of three strengths",
        (5, 13),
        contract.VariantSweep(classification.CONFIG, DECAYS, seeds=20),
        f"{_NO_FIGURE} the second paper by Lyle et al.: LayerNorm with weight decay helps in Atari "
        "games",
    )


def values() -> contract.Experiment:
    """How well conditioned features and loss are, and how far values are above what comes."""
    return streams.make(
        "Values, features and loss of C51 on the stream: without a norm, with LayerNorm, with NaP",
        classification.PROXY,
        (5, 18),
        contract.VariantSweep(
            classification.CONFIG,
            VALUES,
            seeds=20,
            keys=("log.ranks_period_frames=8_000", f"log.network_period_frames={8_000 * _EVERY}"),
        ),
        {
            classification.QUANTITY: task_quantities.means(classification.QUANTITY),
            "overestimation": _overestimation,
            "feature_largest_share": task_quantities.layer_means("ranks", "feature_largest_share"),
            "sharpness": _sharpness,
        },
        [
            classification.PLOTTED,
            streams.PlottedQuantity("overestimation", "values less those of the greedy actions"),
            streams.PlottedQuantity("feature_largest_share", "share of the largest singular value"),
            streams.PlottedQuantity("sharpness", "largest eigenvalue of the Hessian"),
        ],
        f"{_NO_FIGURE} the NaP paper, on others: normalization improves conditioning and fights "
        "overestimation; text of Cheng, Chen and Ma: LayerNorm smooths the loss",
    )


def _overestimation(run: run_records.RunRecord, seed: int) -> np.ndarray:
    """By task, the mean value of all actions less that of following with the greedy ones [T].

    An action at random is right once in ten; the greedy ones are as often as `greedy_reward` says.
    """
    of_greedy = task_quantities.means(classification.QUANTITY)(run, seed)
    discount = run.config["transition"]["discount"]
    expected = 0.1 + discount / (1 - discount) * of_greedy
    return task_quantities.means("q_value")(run, seed) - expected


def _sharpness(run: run_records.RunRecord, seed: int) -> np.ndarray:
    """By task, that at the end of the next task that ends with a measurement [T]."""
    rows = run.tables["network"]
    return np.repeat(rows["sharpness"][rows["seed"] == seed], _EVERY)


def injections() -> contract.Experiment:
    """A network injected at a moment that is fixed, or that a metric chooses."""
    return _make(
        "Double DQN with half the squared error on the stream, a network injected never, after "
        "half of the run, or once a rank of features has fallen by a fifth",
        (4, 15),
        contract.VariantSweep(classification.CONFIG, INJECTIONS, seeds=20),
        f"{_NO_FIGURE} Cheng, Chen and Ma, on work to come: choosing the moment by a metric",
    )


def _make(
    title: str,
    minutes: tuple[int, int],
    sweep: contract.VariantSweep,
    described: str,
    proxy_of: str = classification.PROXY,
) -> contract.Experiment:
    return streams.make(
        title,
        proxy_of,
        minutes,
        sweep,
        classification.QUANTITIES,
        [classification.PLOTTED],
        described,
    )
