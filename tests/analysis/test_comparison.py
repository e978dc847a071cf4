"""Which runs may be compared, and their scores by hand."""

import json

import numpy as np
import pytest

from analysis import comparison, run_records
from core import checks

_SHORT = {"num_frames": 200, "evaluation.period_frames": 100}


@pytest.fixture
def load(make_run):
    def load(name, game, seed, value, **overrides):
        evaluations = [(100, 0, None, value - 1), (200, 0, None, value)]
        path = make_run(name, game, seed, evaluations, **{**_SHORT, **overrides})
        return run_records.load(path)

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
    half = run_records.load(make_run("rainbow_nap", "pong", 1, [], frames=100, **_SHORT))
    notes = comparison.notes(comparison.make_arms([*whole, half]))
    assert notes[0] == "missing: rainbow_nap, boxing, seed 1"
    assert notes[1].startswith("unfinished")
    assert notes[1].endswith("100 of 200 frames")
    assert notes[2].startswith("no evaluation yet")
    assert comparison.notes(comparison.make_arms(whole)) == []


def test_a_run_killed_in_its_last_evaluation_is_noted(make_run):
    """It is finished, and its score is an older one."""
    paths = [make_run("rainbow", "pong", 1, [(101, 0, None, 1.0), (200, 0, None, 2.0)], **_SHORT)]
    paths += [make_run("rainbow", "pong", 2, [(101, 0, None, 1.0)], **_SHORT)]
    notes = comparison.notes(comparison.make_arms([run_records.load(path) for path in paths]))
    assert notes == [f"last evaluation missing: {paths[1]}, at frame 100 of 200 due"]


def test_several_commits_are_noted(load):
    found = [load("rainbow", "pong", 1, 0.0), load("rainbow", "pong", 2, 0.0)]
    path = found[1].path / "provenance.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), "commit": "f" * 40}))
    found[1] = run_records.load(found[1].path)
    (note,) = comparison.notes(comparison.make_arms(found))
    assert note == (f"several commits: 012345678 ({found[0].path}), {'f' * 9} ({found[1].path})")


def test_arms_of_different_lengths_are_refused(load, make_run):
    found = [load("rainbow", "pong", 1, 0.0), load("rainbow_ln", "pong", 1, 0.0, num_frames=300)]
    with pytest.raises(checks.ConfigError) as error:
        comparison.make_arms(found)
    assert str(error.value).startswith(
        f"runs of different lengths: {found[0].path} has num_frames = 200; {found[1].path} has 300"
    )
    sequences = [
        make_run(name, "small", 1, [], **{"environment.frames_per_game": frames, "num_frames": 96})
        for name, frames in (("continual_nap", 24), ("continual_rainbow", 48))
    ]
    with pytest.raises(checks.ConfigError, match=r"has frames per task = 24; .* has 48"):
        comparison.make_arms([run_records.load(path) for path in sequences])


def test_norms_that_seeds_follow_are_their_own_in_iql_too(make_run):
    """Each of its three optimizers has a schedule."""
    found = []
    for seed in (1, 2):
        files = {
            f"optimizer.{part}.schedule.norms_file": f"norms_seed_{seed}.csv"
            for part in ("q", "value", "policy")
        }
        found.append(run_records.load(make_run("point_mass_iql", "0", seed, [], **files)))
    (arm,) = comparison.make_arms(found)
    assert len(arm.runs) == 2


def test_evaluations_are_cut_by_the_smaller_cap(load):
    short = load("rainbow", "pong", 1, 0.0, **{"evaluation.max_episode_frames": 27_000})
    assert comparison.protocol(short).endswith("episodes of at most 27000 frames")
    with pytest.raises(checks.ConfigError, match=r"27000 frames; .* 108000 frames"):
        comparison.make_arms([short, load("rainbow_ln", "pong", 1, 0.0)])


def test_protocol_is_told_in_full(load, make_run):
    run = load("rainbow", "pong", 1, 0.0)
    assert comparison.protocol(run) == (
        "dqn_zoo, no sticky actions, up to 30 no-ops, discount 0 on life loss, minimal actions, "
        "episodes of at most 108000 frames"
    )
    sequence = run_records.load(make_run("continual_rainbow", "small", 1, []))
    assert "all 18 actions" in comparison.protocol(sequence)
