"""Verdicts, by hand."""

import math

import numpy as np
import pytest

from analysis.claims import catalogue, evidence, ledger, page, rules
from analysis.claims.experiments import (
    classification,
    label_variants,
    network_variants,
    registry,
    replays,
    stream_variants,
    supervised,
)
from analysis.claims.ledger import Verdict
from configs import classification_stream, lunar_lander_dqn, point_mass_iql
from configs.supervised import dead_units, methods, methods_cnn, random_labels, replayed_schedule


def _finding(low, high, seeds=20, expected=(0.0, math.inf), outer=None):
    return ledger.Finding("x", (low + high) / 2, low, high, seeds, expected, outer)


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (_finding(0.1, 0.3), Verdict.SHOWN),
        (_finding(0.1, 0.3, seeds=4), Verdict.NOT_SHOWN),
        (_finding(0.0, 0.3), Verdict.NOT_SHOWN),
        (_finding(-0.1, 0.3), Verdict.NOT_SHOWN),
        (_finding(-0.3, -0.1), Verdict.CONTRADICTED),
        (_finding(-0.3, -0.1, seeds=4), Verdict.NOT_SHOWN),
        (_finding(-4, 4, expected=(-5.0, 5.0), outer=(-4.5, 4.5)), Verdict.SHOWN),
        (_finding(4, 9, expected=(-5.0, 5.0), outer=(3.5, 9.5)), Verdict.NOT_SHOWN),
        # The interval of 90 % is outside, that of 95 % is not.
        (_finding(5.1, 9, expected=(-5.0, 5.0), outer=(4.9, 9.2)), Verdict.NOT_SHOWN),
        (_finding(6, 9, expected=(-5.0, 5.0), outer=(5.5, 9.5)), Verdict.CONTRADICTED),
        (_finding(float("nan"), float("nan")), Verdict.NOT_SHOWN),
    ],
)
def test_the_verdict_on_one_finding(finding, verdict):
    assert ledger.judge([finding], is_proxy=False) == verdict


def test_one_finding_of_many_contradicts_only_beyond_chance():
    """Half as wide again for ten findings: the t of 0.25 % is 1.52 times that of 2.5 %."""
    shown, against = _finding(0.1, 0.3), _finding(-0.3, -0.05)
    assert ledger.judge([against], is_proxy=False) == Verdict.CONTRADICTED
    assert ledger.judge([shown, against], is_proxy=False) == Verdict.CONTRADICTED
    assert ledger.judge([*[shown] * 9, against], is_proxy=False) == Verdict.NOT_SHOWN
    clearly = _finding(-0.3, -0.2)
    assert ledger.judge([*[shown] * 9, clearly], is_proxy=False) == Verdict.CONTRADICTED


def test_a_claim_asks_for_all_its_findings():
    shown, open_, against = _finding(0.1, 0.3), _finding(-0.1, 0.3), _finding(-0.3, -0.1)
    assert ledger.judge([shown, shown], is_proxy=True) == Verdict.SHOWN_ON_PROXY
    assert ledger.judge([shown, open_], is_proxy=True) == Verdict.NOT_SHOWN
    assert ledger.judge([shown, against], is_proxy=True) == Verdict.CONTRADICTED


def test_a_finding_is_told_with_what_is_expected():
    assert str(_finding(0.1, 0.3)) == "x: +0.2 [+0.1, +0.3], 20 seeds (expected > 0)"
    within = _finding(-4, 4, expected=(-5.0, 5.0))
    assert str(within).endswith("(expected within -5 and 5)")


def test_claims_have_their_own_ids_and_known_experiments():
    ids = [claim.id for claim in catalogue.CLAIMS]
    assert len(set(ids)) == len(ids)
    for claim in catalogue.CLAIMS:
        for test in claim.tests:
            assert test.experiment in registry.EXPERIMENTS


def _evidence(**last):
    """Twenty seeds that end at about a value, by arm; 16 tasks, early 0.5."""
    scores = {
        arm: {seed: _scores(value + 0.001 * (seed % 3)) for seed in range(20)}
        for arm, value in last.items()
    }
    return evidence.Evidence(
        evidence.Quantities({"x": scores}), np.arange(16), 1.0, "c" * 40, "a machine", True
    )


def _scores(last):
    return np.array([0.5] * 10 + [last] * 6)


def test_the_page_has_the_verdict_and_the_numbers():
    rule = rules.changes("x", ["plain"], rules.BELOW_0)
    claim = ledger.Claim("N0", "It is lost.", (ledger.Test("classification_stream", rule),), "so")
    found = {"classification_stream": _evidence(plain=0.3)}
    row = page.assess(claim, found)
    assert row.verdicts == {"classification_stream": Verdict.SHOWN_ON_PROXY}
    text = page.render([row], found)
    assert "| N0 | It is lost. | shown on a proxy | [classification_stream](#" in text
    assert "* N0: x of plain, last tasks - early tasks: -0.199 [" in text
    assert "Commit ccccccccc, a machine, 1.0 hours" in text
    assert page.shown(page.assess(claim, {})) == "not run"
    far = claim._replace(is_testable=False, tests=())
    assert page.shown(page.assess(far, {})) == "not testable here"
    more = claim._replace(tests=(*claim.tests, ledger.Test("classification_stream_rainbow", rule)))
    row = page.assess(more, found)
    assert page.shown(row).endswith(
        "_stream: shown on a proxy; classification_stream_rainbow: not run"
    )
    assert "[classification_stream_rainbow](results/classification_stream_rainbow/PROTOCOL.md)" in (
        page.render([row], found)
    )


def test_arms_are_compared_in_a_table():
    arms = _evidence(classification_stream=0.3, good=0.7, bad=0.2).scores["x"]
    found = {
        "classification_stream": _evidence()._replace(
            scores=evidence.Quantities({classification.QUANTITY: arms})
        )
    }
    text = page.render([], found)
    assert "| greedy_reward in the last tasks, less that of classification_stream |" in text
    # Twice the sign test's 2 / 2^20 by Holm's correction for the first of two, once for the second.
    (good,) = (line for line in text.splitlines() if line.startswith("| good |"))
    assert "| +0.4" in good
    assert good.endswith("| 20 of 20 | 4e-06 |")
    (bad,) = (line for line in text.splitlines() if line.startswith("| bad |"))
    assert "| -0.1" in bad
    assert "| 0 of 20 |" in bad
    # Failed runs have no difference, and an arm of which all failed has no row.
    arms["good"][3] = np.full(16, np.nan)
    arms["bad"] = dict.fromkeys(range(20), np.full(16, np.nan))
    text = page.render([], found)
    (good,) = (line for line in text.splitlines() if line.startswith("| good |"))
    assert "| 19 of 19 |" in good
    assert "| bad |" not in text


def test_a_claim_about_what_older_runs_did_not_measure_is_not_run():
    rule = rules.changes("y", ["plain"], rules.BELOW_0)
    claim = ledger.Claim("N0", "It is lost.", (ledger.Test("classification_stream", rule),))
    row = page.assess(claim, {"classification_stream": _evidence(plain=0.3)})
    assert (page.shown(row), row.findings) == ("not run", {})


def test_evidence_without_a_finding_has_a_section_all_the_same():
    rule = rules.changes("y", ["plain"], rules.BELOW_0)
    claim = ledger.Claim("N0", "It is lost.", (ledger.Test("classification_stream", rule),))
    found = {"classification_stream": _evidence(plain=0.3)}
    text = page.render([page.assess(claim, found)], found)
    command = "    python -m scripts.claim N0 --full --experiments=classification_stream"
    assert f"\n\n{command}\n\n" in text
    assert "![classification_stream](" in text
    assert "scripts.claim N0" not in page.render([], found)


def _names():
    """By experiment, the names of its runs, as the configs have them."""
    of_streams = {
        f"classification_stream{suffix}": [
            classification_stream.get_config(f"{agent}:{arm}").name for arm in arms
        ]
        for suffix, agent, arms in (
            ("", "c51", classification.ALL_ARMS),
            ("_rainbow", "rainbow", classification.MAIN_ARMS),
            ("_mse", "mse", classification.MAIN_ARMS),
            ("_label", "c51", classification.SCHEDULES),
        )
    }
    of_streams["techniques"] = [
        classification_stream.get_config(f"mse:{arm}").name for arm in classification.TECHNIQUES
    ]
    variants = {
        "projection_periods": stream_variants.PERIODS,
        "discounts": stream_variants.DISCOUNTS,
        "values": stream_variants.VALUES,
        "injections": stream_variants.INJECTIONS,
        "stream_decays": stream_variants.DECAYS,
        "weight_decay": label_variants.DECAYS,
        "scales": label_variants.SCALES,
        "abruptness": label_variants.STEPS,
        "changes": label_variants.CHANGES,
        "rescaling": label_variants.RESCALED,
        "linearised_units": network_variants.UNITS,
        "held_out": list(network_variants.HELD_OUT.values()),
        "architectures": network_variants.ARCHITECTURES,
        "revival": network_variants.REVIVALS,
    }
    of_methods = [*supervised.METHODS, *supervised.METHODS_NAP]
    return (
        of_streams
        | {name: list(found) for name, found in variants.items()}
        | {
            "random_labels": [random_labels.get_config(x).name for x in supervised.RANDOM_LABELS],
            "identities": list(replays.IDENTITIES.values()),
            "replayed_schedule": [replayed_schedule.get_config(x).name for x in replays.REPLAYS],
            "annealing": [*replays.FREE, *replays.REPLAYED.values()],
            "dead_units": [dead_units.get_config(x).name for x in supervised.DEAD_UNITS],
            "methods": [methods.get_config(x).name for x in of_methods],
            "methods_cnn": [methods_cnn.get_config(x).name for x in of_methods],
            "lunar_lander": [lunar_lander_dqn.get_config(x).name for x in ("none", "injection")],
            "point_mass_iql": [point_mass_iql.get_config(x).name for x in ("0", "1", "2")],
        }
    )


_QUANTITIES = {
    "classification_stream": ("greedy_reward", "norm_deviation"),
    "classification_stream_rainbow": ("greedy_reward",),
    "classification_stream_mse": ("greedy_reward",),
    "classification_stream_label": ("greedy_reward",),
    "techniques": (
        *("greedy_reward", "weight_magnitude", "updated_units", "updated_units_td"),
        *("weight_effective_rank", "feature_effective_rank"),
    ),
    "projection_periods": ("greedy_reward",),
    "discounts": ("greedy_reward",),
    "injections": ("greedy_reward", "norm_deviation"),
    "values": ("greedy_reward", "overestimation", "feature_largest_share", "sharpness"),
    "stream_decays": ("greedy_reward",),
    "weight_decay": ("loss", "weight_norm"),
    "scales": ("loss",),
    "abruptness": ("probe", "accuracy"),
    "changes": ("probe", "accuracy"),
    "rescaling": ("loss",),
    "held_out": ("accuracy",),
    "architectures": ("loss", "norm_deviation"),
    "revival": ("dead",),
    "linearised_units": ("linearised", "most_linearised"),
    "random_labels": (
        *("loss", "gradient_norm", "input_jacobian", "weight_norm"),
        *("sharpness", "ntk_effective_rank", "dead"),
    ),
    "identities": ("distance", "growth"),
    "replayed_schedule": ("loss",),
    "annealing": ("greedy_reward",),
    "dead_units": ("dead", "most_dead", "accuracy", "pre_mean", "pre_variance"),
    "methods": ("accuracy",),
    "methods_cnn": ("accuracy",),
    "lunar_lander": ("mean_return",),
    "point_mass_iql": ("mean_return",),
}


@pytest.mark.parametrize("name", registry.EXPERIMENTS)
def test_rules_find_the_runs_and_quantities_they_speak_of(name):
    arms = {arm: {seed: _scores(0.3) for seed in range(6)} for arm in _names()[name]}
    scores = dict.fromkeys(_QUANTITIES[name], arms)
    found = evidence.Evidence(
        evidence.Quantities(scores), np.arange(16), 1.0, "c", "a machine", True
    )
    assert registry.EXPERIMENTS[name].draw(found).axes
    tests = [test for claim in catalogue.CLAIMS for test in claim.tests if test.experiment == name]
    assert tests
    for test in tests:
        assert all(finding.seeds == 6 for finding in test.rule(found))


# By claim and experiment, scores as the claim says: of a quantity and an arm the first, an early
# and a late one. The arms that are not named have those of "".
_AS_CLAIMED = {
    ("N1", "identities"): {
        "growth": {"": (1, 1.5, 2)},
        "distance": {
            **{f"identities_{x}_constant": (0, 0.1, 0.1) for x in ("sgd", "momentum", "adam")},
            "": (0, 0, 0),
        },
    },
    ("N2", "classification_stream"): {
        "norm_deviation": {"classification_c51_nap": (0, 0, 0), "": (0, 1, 2)}
    },
    ("N3", "replayed_schedule"): {
        "loss": {
            "replayed_schedule": (1, 1, 1),
            "replayed_schedule_layer_wise": (1, 1, 1),
            "replayed_schedule_global": (1, 1.1, 1.1),
            "replayed_schedule_constant": (1, 2, 2),
        }
    },
    ("N4", "random_labels"): {
        "": {
            "random_labels": (0.5, 1, 3),
            "random_labels_ln": (0.5, 1, 2),
            "random_labels_nap": (0.5, 1, 1),
        }
    },
    ("N6", "dead_units"): {
        "dead": {
            **{f"dead_units_{x}_plain": (0, 0.1, 0.5) for x in ("sgd", "momentum")},
            "dead_units": (0, 0.1, 0.5),
            "": (0, 0.1, 0),
        }
    },
    ("N7", "revival"): {"dead": {"revival_ln": (0, 0.5, 0), "": (0, 0.5, 0.5)}},
    ("N8", "dead_units"): {
        "pre_mean": {"": (0, -0.1, -0.1)},
        "pre_variance": {"": (1, 1, 1.2)},
        "dead": {**{f"dead_units_{x}_ln": (0, 0, 0) for x in supervised.OPTIMIZERS}, "": (0, 1, 1)},
    },
    **{
        ("N9", name): {
            "accuracy": {
                name: (0.9, 0.9, 0.9),
                f"{name}_l2": (0.9, 0.4, 0.4),
                **{f"{name}_{x}_nap": (0.9, 0.9, 0.9) for x in supervised._METHODS},
                "": (0.9, 0.6, 0.6),
            }
        }
        for name in ("methods", "methods_cnn")
    },
    ("N10", "weight_decay"): {
        "weight_norm": {"": (1, 2, 3)},
        "loss": {"decay_nap": (1, 1, 0.5), "decay_ln": (1, 1, 1), "": (1, 1, 1.5)},
    },
    ("N11", "annealing"): {
        "greedy_reward": {
            "annealing_ln_decayed": (0.5, 0.8, 0.7),
            "annealing_ln_decayed_replayed": (0.5, 0.8, 0.7),
            "": (0.5, 0.8, 0.8),
        }
    },
    ("N12", "classification_stream_label"): {
        "greedy_reward": {"classification_c51_ln": (0.9, 0.9, 0.9), "": (0.9, 0.9, 0.8)}
    },
    ("N13", "classification_stream_label"): {
        "greedy_reward": {"classification_c51_nap": (0.9, 0.9, 0.7), "": (0.9, 0.9, 0.8)}
    },
    ("N14", "classification_stream_mse"): {"greedy_reward": {"": (0.9, 0.8, 0.7)}},
    ("N15", "classification_stream"): {
        "greedy_reward": {"classification_c51_nap": (0.1, 0.8, 0.8), "": (0.1, 0.8, 0.7)}
    },
    ("N17", "projection_periods"): {"greedy_reward": {"": (0.1, 0.8, 0.8)}},
    ("N18", "held_out"): {"accuracy": {"": (0.1, 0.95, 0.95)}},
    ("N20", "architectures"): {
        "norm_deviation": {
            **{f"architectures_{x}_ln": (0, 1, 2) for x in ("cnn", "residual", "transformer")},
            "": (0, 1e-7, 1e-7),
        },
        "loss": {"": (1, 0.5, 0.5)},
    },
    ("N21", "scales"): {"loss": {"scales_free": (1, 1, 2), "": (1, 1, 1)}},
    ("N22", "values"): {"": {"values_ln": (1, 1, 1), "": (1, 2, 2)}},
    ("N23", "random_labels"): {"": {"": (1, 1, 2)}},
    ("D1", "methods"): {"accuracy": {"": (0.9, 0.9, 0.5)}},
    ("D2", "weight_decay"): {"loss": {"decay_ln_l2_1e-5": (1, 1, 1), "": (1, 1, 2)}},
    ("D3", "stream_decays"): {
        "greedy_reward": {"stream_ln_l2_1e-5": (0.1, 0.8, 0.8), "": (0.1, 0.8, 0.7)}
    },
    ("D4", "linearised_units"): {
        "most_linearised": {
            "units_relu_ln": (0, 0, 0),
            "units_gelu_ln": (0, 0, 0),
            "": (0, 0.5, 0.5),
        }
    },
    ("D5", "discounts"): {
        "greedy_reward": {
            "discount_0.0": (0.9, 0.9, 0.9),
            "discount_0.9": (0.9, 0.8, 0.7),
            "discount_0.99": (0.9, 0.5, 0.4),
        }
    },
    ("D6", "random_labels"): {"ntk_effective_rank": {"": (9, 9, 5)}},
    ("D7", "abruptness"): {
        "probe": {"relabelled_in_1": (2, 2, 2), "": (1, 1, 1)},
        "accuracy": {"": (0.5, 0.5, 0.5)},
    },
    ("D8", "changes"): {
        "probe": {"changing_labels": (3, 3, 3), "changing_inputs": (2, 2, 2), "": (1, 1, 1)},
        "accuracy": {"": (0.5, 0.5, 0.5)},
    },
    ("D9", "rescaling"): {"loss": {"rescaled_yes": (2, 1, 1), "": (1, 1, 1)}},
    ("P1", "techniques"): {
        "greedy_reward": {
            "classification_mse_plain": (0.8, 0.7, 0.5),
            "classification_mse_ln_after": (0.8, 0.8, 0.8),
            "": (0.8, 0.7, 0.6),
        }
    },
    ("P14", "injections"): {
        "greedy_reward": {"injected_never": (0.8, 0.7, 0.6), "": (0.8, 0.7, 0.7)}
    },
    ("P4", "techniques"): {
        "weight_effective_rank": {"classification_mse_ln_after": (60, 60, 60), "": (60, 50, 50)}
    },
    ("P5", "techniques"): {
        "weight_magnitude": {
            **{f"classification_mse_{x}l2": (1, 1.5, 2) for x in ("", "incremental_", "periodic_")},
            "": (1, 2, 3),
        }
    },
    ("P6", "techniques"): {
        "updated_units": {"classification_mse_plain": (0.8, 0.5, 0.5), "": (1, 1, 1)}
    },
    ("P7", "techniques"): {
        "greedy_reward": {"": (0.8, 0.7, 0.6)},
        "weight_magnitude": {"": (1, 2, 3)},
        "updated_units": {"": (-1, -1, -1)},
    },
    ("P9", "techniques"): {
        "greedy_reward": {"classification_mse_l2": (0.8, 0.6, 0.6), "": (0.8, 0.7, 0.7)}
    },
    ("P13", "techniques"): {
        "greedy_reward": {"classification_mse_plain": (0.8, 0.7, 0.6), "": (0.8, 0.7, 0.7)}
    },
    ("P16", "techniques"): {
        "greedy_reward": {"": (0.8, 0.7, 0.6)},
        "feature_effective_rank": {"": (40, 30, 20)},
        "weight_magnitude": {"": (1, 2, 3)},
    },
    ("P12", "lunar_lander"): {
        "mean_return": {"lunar_lander_dqn": (-200, 100, 100), "": (-200, 100, 150)}
    },
    ("P10", "point_mass_iql"): {"mean_return": {"": (-100, -60, -50)}},
}


# What a rule asks for first, in another quantity than that of the claim.
_PRECONDITIONS = {"D7": "accuracy"}


@pytest.mark.parametrize(("claim", "name"), _AS_CLAIMED)
def test_what_a_claim_says_is_shown_and_its_opposite_is_not(claim, name):
    found = next(x for x in catalogue.CLAIMS if x.id == claim)
    (rule,) = (test.rule for test in found.tests if test.experiment == name)
    as_claimed = _AS_CLAIMED[claim, name]
    arms = _names()[name]

    def judge(turn):
        scores = {}
        for quantity in _QUANTITIES[name]:
            values = as_claimed.get(quantity, as_claimed.get("", {"": (1, 1, 1)}))
            way = 1 if quantity == _PRECONDITIONS.get(claim) else turn
            scores[quantity] = {
                arm: {seed: _row(values.get(arm, values.get("")), seed, way) for seed in range(6)}
                for arm in arms
            }
        evidence_ = evidence.Evidence(
            evidence.Quantities(scores), np.arange(16), 1.0, "c", "a machine", True
        )
        return ledger.judge(rule(evidence_), is_proxy=False)

    assert judge(turn=1) == Verdict.SHOWN
    # Of those, distances, correlations and equalities, the opposite is the same or none.
    if claim not in ("N3", "N17", "N18", "N20", "D8", "P7", "P10", "P12"):
        assert judge(turn=-1) == Verdict.CONTRADICTED


def _row(values, seed, turn):
    """A first score, nine early ones and six late ones, a little different for each seed."""
    first, early, late = (turn * x for x in values)
    return np.array([first] + [early] * 9 + [late] * 6) * (1 + 1e-4 * seed)
