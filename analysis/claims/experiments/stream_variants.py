"""Variants of agents on streams of classification tasks: projections, discounts, decays."""

from collections.abc import Mapping

from analysis.claims.experiments import classification, contract, streams
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


_NO_FIGURE = "no figure; text of"


def projection_periods() -> contract.Experiment:
    """NaP after each update, or after many."""
    return _make(
        "NaP with C51 on the stream, projected after every 1, 100 and 1,000 updates",
        (6, 20),
        contract.VariantSweep(classification.CONFIG, PERIODS, seeds=20),
        f"{_NO_FIGURE} the NaP paper: projecting every 1,000 updates is nearly as good",
    )


def discounts() -> contract.Experiment:
    """Values of different sizes for the same rewards, by the discount."""
    return _make(
        "Double DQN with half the squared error on the stream, discounts 0, 0.9 and 0.99",
        (6, 20),
        contract.VariantSweep(classification.CONFIG, DISCOUNTS, seeds=20),
        f"{_NO_FIGURE} the second paper by Lyle et al.: large targets destroy plasticity",
        proxy_of="regression on targets of growing size",
    )


def decays() -> contract.Experiment:
    """LayerNorm with L2 of three strengths."""
    return _make(
        "C51 on the stream with LayerNorm and L2 of three strengths",
        (10, 30),
        contract.VariantSweep(classification.CONFIG, DECAYS, seeds=20),
        f"{_NO_FIGURE} the second paper by Lyle et al.: LayerNorm with weight decay helps in Atari "
        "games",
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
        classification.PLOTTED,
        described,
    )
