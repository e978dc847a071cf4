"""Which runs may be compared, and their scores by hand."""

import numpy as np
import pytest

from analysis import comparison, run_records
from core import checks


@pytest.fixture
def load(make_run):
    def load(name, game, seed, value, **overrides):
        evaluations = [(100, 0, None, value - 1), (200, 0, None, value)]
        return run_records.load(make_run(name, game, seed, evaluations, **overrides))

    return load


def test_arms_are_configurations_in_order_of_their_runs(load):
    arms = comparison.make_arms(
        [
            load("data_efficient_nap", "pong", 1, 0.0),
            load("data_efficient", "pong", 1, 0.0),
            load("data_efficient_nap", "boxing", 2, 0.0),
        ]
    )
    assert [(arm.label, len(arm.runs)) for arm in arms] == [
        ("data_efficient_nap", 2),
        ("data_efficient", 1),
    ]


def test_final_returns_are_those_of_each_runs_last_evaluation(load):
    (arm,) = comparison.make_arms(
        [
            load("rainbow", "pong", 2, 4.0),
            load("rainbow", "pong", 1, -4.0),
            load("rainbow", "boxing", 1, 6.1),
        ]
    )
    returns = comparison.final_returns(arm)
    np.testing.assert_array_equal(returns["pong"], [-4.0, 4.0])
    # (6.1 - 0.1) / (12.1 - 0.1)
    np.testing.assert_allclose(comparison.normalized(returns)["boxing"], [0.5])


def test_mixed_protocols_are_refused_unless_asked_for(load):
    found = [
        load("rainbow", "pong", 1, 0.0),
        load("rainbow_ln", "pong", 1, 0.0, **{"environment.protocol": "machado"}),
    ]
    with pytest.raises(checks.ConfigError, match=r"different protocols: .*dqn_zoo.*machado"):
        comparison.make_arms(found)
    labels = [arm.label for arm in comparison.make_arms(found, mixed_protocols=True)]
    assert labels[0].startswith("rainbow [dqn_zoo, no sticky actions, up to 30 no-ops")
    assert "sticky actions 0.25" in labels[1]
    assert "all 18 actions" in labels[1]


def test_one_name_means_one_set_of_settings(load):
    found = [
        load("rainbow", "pong", 1, 0.0),
        load("rainbow", "boxing", 1, 0.0, **{"transition.n_step": 5}),
    ]
    with pytest.raises(checks.ConfigError, match=r"transition\.n_step = 5 instead of 3"):
        comparison.make_arms(found)


def test_a_seed_comes_once(load):
    found = [load("rainbow", "pong", 1, 0.0)] * 2
    with pytest.raises(checks.ConfigError, match="seed 1 of pong comes a second time"):
        comparison.make_arms(found)


def test_notes_tell_what_is_missing_unfinished_and_not_evaluated(load, make_run):
    whole = [load("rainbow", "pong", 1, 0.0), load("rainbow", "boxing", 1, 0.0)]
    half = run_records.load(make_run("rainbow_nap", "pong", 1, [], frames=1000))
    notes = comparison.notes(comparison.make_arms([*whole, half]))
    assert notes[0] == "missing: rainbow_nap, boxing, seed 1"
    assert notes[1].startswith("unfinished")
    assert notes[1].endswith("1000 of 200000000 frames")
    assert notes[2].startswith("no evaluation yet")
    assert comparison.notes(comparison.make_arms(whole)) == []


def test_protocol_is_told_in_full(load, make_run):
    run = load("rainbow", "pong", 1, 0.0)
    assert comparison.protocol(run) == (
        "dqn_zoo, no sticky actions, up to 30 no-ops, discount 0 on life loss, minimal actions, "
        "episodes of at most 108000 frames"
    )
    sequence = run_records.load(make_run("continual_rainbow", "small", 1, []))
    assert "all 18 actions" in comparison.protocol(sequence)
