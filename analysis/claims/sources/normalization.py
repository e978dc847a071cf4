"""Claims of the NaP paper and of summaries of it, in their order.

"Normalization and effective learning rates in reinforcement learning", Lyle et al. 2024.
"""

import math
from collections.abc import Sequence

from analysis.claims import ledger, rules
from analysis.claims.experiments import (
    classification,
    label_variants,
    network_variants,
    replays,
    stream_variants,
    supervised,
)
from analysis.claims.ledger import Claim, Test

_C51 = {
    arm: classification.name("c51", arm)
    for arm in (*classification.ALL_ARMS, *classification.SCHEDULES)
}
_RAINBOW = {arm: classification.name("rainbow", arm) for arm in classification.MAIN_ARMS}
_MSE = {arm: classification.name("mse", arm) for arm in classification.MAIN_ARMS}
_LABELS = supervised.RANDOM_LABELS
_REPLAYS = replays.REPLAYS
_DEAD = supervised.DEAD_UNITS
_PERIODS = tuple(stream_variants.PERIODS)
_REWARD = classification.QUANTITY
_DEVIATION = classification.DEVIATION
_IDENTITIES = "more identities are checked by tests/plasticity/test_identities.py"
_TESTED_EXACTLY = (
    Test(
        "identities",
        rules.all_of(
            *(
                rules.all_of(
                    rules.at_end_within(
                        "growth", replays.IDENTITIES[optimizer, "replayed"], (1.1, math.inf)
                    ),
                    rules.stays_within(
                        "distance", replays.IDENTITIES[optimizer, "replayed"], (-1.0, 1e-9)
                    ),
                    rules.stays_within(
                        "distance", replays.IDENTITIES[optimizer, "constant"], (1e-3, math.inf)
                    ),
                )
                for optimizer in replays.OPTIMIZERS
            )
        ),
    ),
)


def _rises_least_with_nap(quantity: str) -> ledger.Rule:
    """Of random labels: it rises without a norm, and ends lower with NaP than in both others."""
    return rules.all_of(
        rules.changes(quantity, [_LABELS["plain"]], rules.ABOVE_0),
        rules.differs(quantity, _LABELS["nap"], [_LABELS["plain"], _LABELS["ln"]], rules.BELOW_0),
    )


def _is_as_good_projected(kind: str) -> ledger.Rule:
    """Of a kind of network: NaP holds its norms, and its loss is not more than 0.1 above LN's."""
    nap, ln = (f"architectures_{kind}_{arm}" for arm in ("nap", "ln"))
    return rules.all_of(
        rules.ends_within(_DEVIATION, nap, (-1.0, 1e-5)),
        # Ten classes by chance: 2.3.
        rules.ends_within("loss", nap, (-math.inf, 1.5)),
        rules.differs("loss", nap, [ln], (-math.inf, 0.1)),
    )


_REPLAYED = (
    Test(
        "replayed_schedule",
        rules.nearer(
            "loss",
            _REPLAYS["free"],
            [_REPLAYS["layer_wise"], _REPLAYS["global"], _REPLAYS["constant"]],
        ),
    ),
)

LOSS_OF_PLASTICITY = (
    Test("classification_stream", rules.changes(_REWARD, [_C51["plain"]], rules.BELOW_0)),
    Test(
        "classification_stream_rainbow",
        rules.changes(_REWARD, [_RAINBOW["plain"]], rules.BELOW_0),
    ),
    Test("classification_stream_mse", rules.falls_below_first(_REWARD, _MSE["plain"])),
    Test(
        "classification_stream_label",
        rules.changes(_REWARD, [_C51["plain"]], rules.BELOW_0),
    ),
)

LOSS_AT_ONE_RATE = (
    "each arm at its best rate, which for plain C51 and Rainbow is the lowest of three, 3e-4; at "
    "1e-3 plain C51 loses 12.5 points in the same stream (plain arms of [values](#values) and "
    "[stream_decays](#stream_decays), for which there was no such rule)"
)

_LATE_TASKS = (
    Test(
        "classification_stream",
        rules.differs(_REWARD, _C51["nap"], [_C51["plain"], _C51["ln"]], rules.ABOVE_0),
    ),
    Test(
        "classification_stream_rainbow",
        rules.differs(_REWARD, _RAINBOW["nap"], [_RAINBOW["plain"], _RAINBOW["ln"]], rules.ABOVE_0),
    ),
    Test(
        "classification_stream_mse",
        rules.differs(_REWARD, _MSE["nap"], [_MSE["plain"], _MSE["ln"]], rules.ABOVE_0),
    ),
    Test(
        "classification_stream_label",
        rules.differs(_REWARD, _C51["nap"], [_C51["plain"], _C51["ln"]], rules.ABOVE_0),
    ),
)

_METHODS = tuple(
    Test(
        name,
        rules.closer_and_higher("accuracy", tuple(projected.values()), tuple(plain.values())),
    )
    for name, projected, plain in (
        ("methods", supervised.METHODS_NAP, supervised.METHODS),
        ("methods_cnn", supervised.METHODS_CNN_NAP, supervised.METHODS_CNN),
    )
)

CLAIMS: Sequence[Claim] = (
    Claim(
        "N1",
        "Under normalization, growth of a layer's norm is decay of its effective learning rate.",
        _TESTED_EXACTLY,
        _IDENTITIES,
    ),
    Claim(
        "N2",
        "NaP keeps the norm of every layer, and with it the effective learning rate.",
        (
            Test(
                "classification_stream",
                rules.all_of(
                    rules.ends_within(_DEVIATION, _C51["nap"], (-1.0, 1e-5)),
                    rules.differs(_DEVIATION, _C51["ln"], [_C51["nap"]], rules.ABOVE_0),
                ),
            ),
        ),
        "docs/results/norms has one seed on Atari",
    ),
    Claim(
        "N3",
        "Learning rates scaled layer by layer reproduce a free run; one global scale is close.",
        _REPLAYED,
        "of the global scale the rule asks that it be closer than a constant rate, not how close: "
        "its distance is four times that of the layers' own rates and 0.4 of a constant one's; "
        f"{_IDENTITIES}",
    ),
    Claim(
        "N4",
        "Refitting random labels: Jacobian and norms grow without normalization and loss rises; "
        "LayerNorm slows that, NaP stays as good as at first.",
        (
            Test(
                "random_labels",
                rules.all_of(
                    _rises_least_with_nap("loss"),
                    rules.differs("loss", _LABELS["ln"], [_LABELS["plain"]], rules.BELOW_0),
                    rules.changes("loss", [_LABELS["nap"]], (-math.inf, 0.1)),
                    _rises_least_with_nap("weight_norm"),
                    rules.changes("input_jacobian", [_LABELS["plain"]], rules.ABOVE_0),
                ),
            ),
        ),
    ),
    Claim(
        "N5",
        "Refitting random labels, the norm of the gradient grows without normalization and is "
        "smallest with NaP.",
        (Test("random_labels", _rises_least_with_nap("gradient_norm")),),
    ),
    Claim(
        "N6",
        "With LayerNorm or RMSNorm dead units do not accumulate, with each of three optimizers; "
        "without they do.",
        (
            Test(
                "dead_units",
                rules.all_of(
                    rules.changes(
                        "dead",
                        [name for arm, name in _DEAD.items() if arm.endswith(":plain")],
                        rules.ABOVE_0,
                    ),
                    rules.changes(
                        "dead",
                        [name for arm, name in _DEAD.items() if not arm.endswith(":plain")],
                        (-math.inf, 0.05),
                    ),
                ),
            ),
        ),
    ),
    Claim(
        "N7",
        "LayerNorm passes gradients to units that are off, through its statistics: they revive.",
        (
            Test(
                "revival",
                rules.all_of(
                    rules.differs_at(
                        "dead", "revival_ln", ["revival", "revival_ln_constant"], rules.BELOW_0, -1
                    ),
                    rules.at_end_within("dead", "revival_ln", (-1.0, 0.05)),
                ),
            ),
        ),
    ),
    Claim(
        "N8",
        "LayerNorm keeps pre-activations at mean 0 and variance 1, which prevents dead units.",
        (
            Test(
                "dead_units",
                rules.all_of(
                    *(
                        rules.all_of(
                            rules.ends_within(
                                "pre_mean", f"dead_units_{optimizer}_ln", (-0.5, 0.5)
                            ),
                            rules.ends_within(
                                "pre_variance", f"dead_units_{optimizer}_ln", (0.25, 2)
                            ),
                            rules.differs(
                                "dead",
                                f"dead_units_{optimizer}_ln",
                                [_DEAD[f"{optimizer}:plain"]],
                                rules.BELOW_0,
                            ),
                        )
                        for optimizer in supervised.OPTIMIZERS
                    )
                ),
            ),
        ),
        "what LayerNorm gives has them exactly, over the units of each input; tested is that its "
        "learned scales and offsets stay near it",
    ),
    Claim(
        "N9",
        "With NaP the accuracies of seven methods against plasticity loss are higher and closer.",
        _METHODS,
    ),
    Claim(
        "N10",
        "Weight decay regularizes too much, or controls the growth of norms too little.",
        (
            Test(
                "weight_decay",
                rules.all_of(
                    # Too little of it lets norms grow, too much costs more than it gives.
                    rules.changes("weight_norm", ["decay_ln_l2_1e-6"], rules.ABOVE_0),
                    rules.differs("loss", "decay_ln_l2_1e-2", ["decay_ln"], rules.ABOVE_0),
                    rules.differs(
                        "loss",
                        "decay_nap",
                        [name for name in label_variants.DECAYS if name.startswith("decay_ln_l2")],
                        rules.BELOW_0,
                    ),
                ),
            ),
        ),
        "tested too is that none of five strengths is as good as NaP, which does not hold: two are "
        "better",
    ),
    Claim(
        "N11",
        "Weight decay disturbs the implicit annealing of value-based agents.",
        (
            Test(
                "annealing",
                rules.all_of(
                    *(
                        rules.differs(
                            _REWARD,
                            arms["annealing_ln_decayed"],
                            [arms["annealing_ln"]],
                            rules.BELOW_0,
                        )
                        for arms in ({name: name for name in replays.FREE}, replays.REPLAYED)
                    )
                ),
            ),
        ),
        "worse with weight decay, and with the effective rates that it leaves alone",
    ),
    Claim(
        "N12",
        "Rainbow needs its implicit decay of effective rates: a constant one is worse.",
        (
            Test(
                "classification_stream_label",
                rules.differs(_REWARD, _C51["ln"], [_C51["nap"]], rules.ABOVE_0),
            ),
        ),
        "LayerNorm beside NaP, each at its best rate; on Atari it needs five games of 200M frames",
    ),
    Claim(
        "N13",
        "Constant rates are not the best for deep RL: explicit schedules on NaP do better.",
        (
            Test(
                "classification_stream",
                rules.differs(_REWARD, _C51["nap_schedule"], [_C51["nap"]], rules.ABOVE_0),
            ),
            Test(
                "classification_stream_label",
                rules.all_of(
                    rules.differs(_REWARD, _C51["nap_schedule"], [_C51["nap"]], rules.ABOVE_0),
                    rules.differs(_REWARD, _C51["nap_linear"], [_C51["nap"]], rules.ABOVE_0),
                ),
            ),
        ),
        "the schedule is a warm-up and half a cosine wave in every task",
    ),
    Claim(
        "N14",
        "Agents lose plasticity in sequences of tasks.",
        LOSS_OF_PLASTICITY,
        LOSS_AT_ONE_RATE,
    ),
    Claim(
        "N15",
        "With NaP an agent learns late tasks better than without, and than with LayerNorm alone.",
        _LATE_TASKS,
        "the source compares the second of two passes through ten games with a new network",
    ),
    Claim(
        "N16",
        "NaP raises Rainbow's median and interquartile mean over 57 games.",
        note="57 games of 200M frames",
        is_testable=False,
    ),
    Claim(
        "N17",
        "Projecting every 1,000 updates is like projecting after each.",
        (
            Test(
                "projection_periods",
                rules.late_tasks_the_same(
                    _REWARD, [(longer, _PERIODS[0]) for longer in _PERIODS[1:]], margin=0.04
                ),
            ),
        ),
    ),
    Claim(
        "N18",
        "NaP costs no accuracy on CIFAR-10 and ImageNet.",
        (
            Test(
                "held_out",
                rules.all_of(
                    rules.has_learned("accuracy", network_variants.HELD_OUT["plain"], least=0.9),
                    rules.differs_at(
                        "accuracy",
                        network_variants.HELD_OUT["nap"],
                        [network_variants.HELD_OUT[arm] for arm in ("plain", "ln")],
                        (-0.005, math.inf),
                        position=-1,
                    ),
                ),
            ),
        ),
        "not more than half a percent",
    ),
    Claim(
        "N19",
        "NaP costs a language model of 400M parameters nothing.",
        note="needs GPUs",
        is_testable=False,
    ),
    Claim(
        "N20",
        "One transform serves residual networks and transformers.",
        (
            Test(
                "architectures",
                rules.all_of(*map(_is_as_good_projected, ("cnn", "residual", "transformer"))),
            ),
        ),
        "on labels that change",
    ),
    Claim(
        "N21",
        "Scales and offsets need joint treatment or regularization in long runs.",
        (
            Test(
                "scales",
                rules.all_of(
                    rules.differs("loss", "scales_joint_sqrt_d", ["scales_free"], rules.BELOW_0),
                    rules.differs("loss", "scales_decay_to_init", ["scales_free"], rules.BELOW_0),
                ),
            ),
        ),
    ),
    Claim(
        "N22",
        "Normalization improves conditioning and reduces overestimation.",
        (
            Test(
                "values",
                rules.all_of(
                    *(
                        rules.differs(quantity, "values_ln", ["values_plain"], rules.BELOW_0)
                        for quantity in ("feature_largest_share", "sharpness", "overestimation")
                    )
                ),
            ),
        ),
        "LayerNorm beside none: the largest singular value of features has a smaller share, the "
        "loss is less sharp, values are less above what the greedy actions bring",
    ),
    Claim(
        "N23",
        "As plasticity falls, the loss grows sharper and units saturate.",
        (
            Test(
                "random_labels",
                rules.all_of(
                    *(
                        rules.changes(quantity, [_LABELS["plain"]], rules.ABOVE_0)
                        for quantity in ("loss", "sharpness", "dead")
                    )
                ),
            ),
        ),
    ),
    Claim(
        "N24",
        "NaP is robust to non-stationarity over time.",
        (*_LATE_TASKS, *_METHODS),
        "by the rules of N15 and N9",
    ),
    Claim(
        "N25",
        "The effective rate of any optimizer can be read and replayed.",
        (*_TESTED_EXACTLY, *_REPLAYED),
        "of SGD, with momentum too, and Adam; by the rules of N1 and N3",
    ),
)
