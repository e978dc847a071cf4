"""Claims of "Disentangling the causes of plasticity loss in neural networks" (Lyle et al. 2024)."""

from collections.abc import Sequence

from analysis.claims import rules
from analysis.claims.experiments import classification, label_variants, stream_variants, supervised
from analysis.claims.ledger import Claim, Test

_LABELS = supervised.RANDOM_LABELS
_ALONE = tuple(name for method, name in supervised.METHODS.items() if method != "none")
_REWARD = classification.QUANTITY

# Of ten classes, twice the accuracy of guessing.
_ABOVE_GUESSING = 0.2

CLAIMS: Sequence[Claim] = (
    Claim(
        "D1",
        "Several mechanisms are independent: mending one is not enough.",
        (Test("methods", rules.changes("accuracy", _ALONE, rules.BELOW_0)),),
        "each of six methods alone still loses; which mechanisms there are is not tested",
    ),
    Claim(
        "D2",
        "LayerNorm with weight decay is robust on synthetic streams.",
        (
            Test(
                "weight_decay",
                rules.differs(
                    "loss",
                    "decay_ln_l2_1e-5",
                    ["decay_ln", "decay_plain_l2_1e-5", "decay_plain"],
                    rules.BELOW_0,
                ),
            ),
        ),
        "better than either alone",
    ),
    Claim(
        "D3",
        "LayerNorm with weight decay helps in the ALE.",
        (
            Test(
                "stream_decays",
                rules.differs(
                    _REWARD, "stream_ln_l2_1e-5", ["stream_plain", "stream_ln"], rules.ABOVE_0
                ),
            ),
        ),
    ),
    Claim(
        "D4",
        "Beside dead units there are linearized ones, far fewer with LayerNorm.",
        (
            Test(
                "linearised_units",
                rules.all_of(
                    *(
                        rules.differs(
                            "most_linearised",
                            f"units_{kind}_plain",
                            [f"units_{kind}_ln"],
                            rules.ABOVE_0,
                        )
                        for kind in ("relu", "gelu")
                    )
                ),
            ),
        ),
        "the rule is on the largest share within a task, which with LayerNorm comes directly after "
        "a change and passes; at the ends of tasks, of which no rule spoke, "
        "they accumulate without a norm alone",
    ),
    Claim(
        "D5",
        "Large targets destroy plasticity in regression.",
        (Test("discounts", rules.falls_less(_REWARD, tuple(stream_variants.DISCOUNTS))),),
        "the larger the discount, the larger the values of the same rewards",
    ),
    Claim(
        "D6",
        "The tangent kernel becomes pathological in all cases.",
        (
            Test(
                "random_labels",
                rules.changes("ntk_effective_rank", tuple(_LABELS.values()), rules.BELOW_0),
            ),
        ),
        "its effective rank falls without a norm, with LayerNorm and with NaP",
    ),
    Claim(
        "D7",
        "Abrupt changes harm more than gradual ones.",
        (
            Test(
                "abruptness",
                rules.all_of(
                    rules.differs_at(
                        "probe",
                        "relabelled_in_1",
                        ["relabelled_in_10", "relabelled_in_100"],
                        rules.ABOVE_0,
                        position=-1,
                    ),
                    *(
                        rules.has_learned("accuracy", f"relabelled_in_{steps}", _ABOVE_GUESSING)
                        for steps in (10, 100)
                    ),
                ),
            ),
        ),
        "a first series (docs/results/abruptness_at_1e-3) could not tell: all its networks die",
    ),
    Claim(
        "D8",
        "Changing labels, changing inputs and growing data differ.",
        (
            Test(
                "changes",
                rules.all_of(
                    rules.differ_at_end(
                        "probe", [x for x in label_variants.CHANGES if x != "changing_nothing"]
                    ),
                    rules.has_learned("accuracy", "changing_nothing", _ABOVE_GUESSING),
                ),
            ),
        ),
        "in what is left of plasticity: all three from each other, either way",
    ),
    Claim(
        "D9",
        "Rescaling weights without a norm slows learning.",
        (
            Test(
                "rescaling",
                rules.differs_at("loss", "rescaled_yes", ["rescaled_no"], rules.ABOVE_0, 0),
            ),
        ),
    ),
)
