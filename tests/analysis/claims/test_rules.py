"""From scores to findings, by hand."""

import numpy as np
import pytest

from analysis.claims import evidence, ledger, rules


def _evidence(positions=15, **scores):
    scores_ = evidence.Quantities({"x": scores})
    return evidence.Evidence(scores_, np.arange(positions), 1.0, "commit", "a machine", True)


def _tasks(early, last):
    return np.array([0.0] * 4 + [early] * 6 + [last] * 5)


def test_loss_is_what_the_last_tasks_are_below_the_early_ones():
    arm = {seed: _tasks(0.8, 0.6 + 0.01 * seed) for seed in range(5)}
    (found,) = rules.changes("x", ["plain"], rules.BELOW_0)(_evidence(plain=arm))
    assert found.mean == pytest.approx(-0.18)
    assert (found.seeds, found.expected) == (5, (-np.inf, 0.0))
    assert found.is_shown


def test_an_arm_is_compared_with_each_other_one_by_seed():
    ours = {seed: _tasks(0.8, 0.7 + 0.1 * seed) for seed in range(5)}
    lower = {seed: values - 0.1 for seed, values in ours.items()}
    found = rules.differs("x", "nap", ["plain", "ln"], rules.ABOVE_0)(
        _evidence(nap=ours, plain=lower, ln=ours)
    )
    assert [f.mean for f in found] == pytest.approx([0.1, 0.0])
    assert [f.is_shown for f in found] == [True, False]
    (against,) = rules.differs("x", "plain", ["nap"], rules.ABOVE_0)(
        _evidence(nap=ours, plain=lower)
    )
    assert against.is_contradicted(among=1)


def test_the_same_end_is_asked_of_the_last_score_alone():
    first = {seed: np.array([0.0, float(seed)]) for seed in range(6)}
    second = {seed: np.array([50.0, seed + (-1.0) ** seed]) for seed in range(6)}
    same = rules.ends_the_same("x", [("b", "a")], margin=5.0)
    (found,) = same(_evidence(2, a=first, b=second))
    assert (found.mean, found.seeds, found.expected) == (0.0, 6, (-5.0, 5.0))
    assert found.outer is not None
    assert found.outer[0] < found.low < found.high < found.outer[1]
    assert ledger.judge([found], is_proxy=False) == ledger.Verdict.SHOWN
    far = {seed: values + 20 for seed, values in second.items()}
    (found,) = same(_evidence(2, a=first, b=far))
    assert found.is_contradicted(among=1)


def test_where_nobody_learns_nothing_is_shown_and_nothing_contradicted():
    def verdict(last):
        scores = {seed: np.array([-100.0, last + seed]) for seed in range(5)}
        found = rules.has_learned("x", "a", least=-80.0)(_evidence(2, a=scores))
        return ledger.judge(found, is_proxy=False)

    assert verdict(-100.0) == ledger.Verdict.NOT_SHOWN
    assert verdict(-40.0) == ledger.Verdict.SHOWN
    contradicted = ledger.Finding("y", -2.0, -3.0, -1.0, 5, rules.ABOVE_0)
    scores = {seed: np.array([-100.0]) for seed in range(5)}
    missed = rules.has_learned("x", "a", least=-80.0)(_evidence(1, a=scores))
    assert ledger.judge([contradicted], is_proxy=False) == ledger.Verdict.CONTRADICTED
    assert ledger.judge([contradicted, *missed], is_proxy=False) == ledger.Verdict.NOT_SHOWN


def test_without_a_finding_nothing_is_shown():
    assert ledger.judge([], is_proxy=False) == ledger.Verdict.NOT_SHOWN


def test_who_never_gets_there_counts_as_the_end():
    quick = {seed: np.array([0.0, 1.0, 1.0, 1.0]) for seed in range(5)}
    slow = {seed: np.array([0.0, 0.0, 0.0, float(seed > 0)]) for seed in range(5)}
    later = rules.reaches_later("x", "b", "a", threshold=1.0)
    found = evidence.Evidence(
        evidence.Quantities({"x": {"a": quick, "b": slow}}), np.arange(4) * 100, 1.0, "c", "m", True
    )
    (delay,) = later(found)
    assert (delay.mean, delay.low, delay.high) == (200.0, 200.0, 200.0)
    assert delay.is_shown
    slow[4] = np.full(4, np.nan)
    (delay,) = later(found)
    assert np.isnan([delay.mean, delay.low, delay.high]).all()
    assert not delay.is_shown
    assert delay.what.endswith("b - a (1 seeds failed)")


def test_a_spread_is_of_the_means_of_each_seed():
    def arm(*means):
        return {seed: np.array([mean - 0.1, mean + 0.1]) for seed, mean in enumerate(means)}

    scores = {"a": arm(0.2, 0.3), "b": arm(0.8, 0.7), "c": arm(0.6, 0.7), "d": arm(0.7, 0.7)}
    rule = rules.closer_and_higher("x", ("c", "d"), ("a", "b"))
    spread, mean = rule(_evidence(2, **scores))
    # Of the seeds: 0.6 - 0.1 and 0.4 - 0; 0.65 - 0.5 and 0.7 - 0.5.
    assert spread.mean == pytest.approx(0.45)
    assert mean.mean == pytest.approx(0.175)
    assert spread.seeds == mean.seeds == 2


def test_a_claim_may_ask_for_several_rules():
    arm = {seed: _tasks(0.8, 0.6 + 0.01 * seed) for seed in range(5)}
    both = rules.all_of(
        rules.changes("x", ["a"], rules.BELOW_0), rules.changes("x", ["a"], rules.ABOVE_0)
    )
    assert [f.is_shown for f in both(_evidence(a=arm))] == [True, False]


def test_what_speaks_of_a_failed_run_is_not_shown_and_says_so():
    arm = {seed: _tasks(0.8, 0.6 + 0.01 * seed) for seed in range(6)}
    failed = {**arm, 3: np.full(15, np.nan)}
    pair = _evidence(plain=arm, ln=failed)
    for rule in (
        rules.changes("x", ["ln"], rules.BELOW_0),
        rules.differs("x", "plain", ["ln"], rules.ABOVE_0),
        rules.late_tasks_the_same("x", [("ln", "plain")], margin=1.0),
    ):
        (found,) = rule(pair)
        assert ledger.judge([found], is_proxy=False) == ledger.Verdict.NOT_SHOWN
        assert "(1 seeds failed)" in str(found)


def test_a_fall_below_the_first_task():
    arm = {seed: np.array([0.9] + [0.8] * 9 + [0.6 + 0.01 * seed] * 5) for seed in range(5)}
    (found,) = rules.falls_below_first("x", "a")(_evidence(a=arm))
    assert found.mean == pytest.approx(-0.28)
    assert found.is_shown


def test_distances_are_means_over_tasks_of_each_seed():
    free = {seed: np.full(15, 1.0 + seed) for seed in range(5)}
    near, far = ({s: v + d * (-1.0) ** np.arange(15) for s, v in free.items()} for d in (0.1, 0.4))
    (found,) = rules.nearer("x", "free", ["near", "far"])(_evidence(free=free, near=near, far=far))
    assert found.mean == pytest.approx(0.3)
    assert found.is_shown


def test_late_tasks_are_the_same_within_a_margin():
    ours = {seed: _tasks(0.2, 0.7 + 0.01 * (-1) ** seed) for seed in range(6)}
    theirs = {seed: _tasks(0.9, 0.7) for seed in range(6)}
    same = rules.late_tasks_the_same("x", [("a", "b")], margin=0.04)
    (found,) = same(_evidence(a=ours, b=theirs))
    assert found.mean == pytest.approx(0.0)
    assert found.is_shown
    (found,) = same(_evidence(a={s: x + 0.1 for s, x in ours.items()}, b=theirs))
    assert found.is_contradicted(among=1)


def test_who_falls_less_is_judged_from_the_own_first_task():
    def falling(by):
        values = {s: _tasks(0.5, 0.5 - by - 0.001 * s) for s in range(5)}
        for x in values.values():
            x[0] = 0.5
        return values

    rule = rules.falls_less("x", ("a", "b", "c"))
    found = rule(_evidence(a=falling(0.0), b=falling(0.1), c=falling(0.3)))
    assert [f.mean for f in found] == pytest.approx([0.1, 0.2])
    assert all(f.is_shown for f in found)
    assert not rule(_evidence(a=falling(0.2), b=falling(0.1), c=falling(0.3)))[0].is_shown


def test_the_end_can_be_asked_of_the_last_score():
    arm = {seed: np.array([0.9, 0.02 + 0.001 * seed]) for seed in range(5)}
    (found,) = rules.at_end_within("x", "a", (-1.0, 0.05))(_evidence(2, a=arm))
    assert found.mean == pytest.approx(0.022)
    assert found.is_shown


def test_a_difference_can_be_asked_of_one_position():
    ours = {seed: np.array([3.0 + seed, 1.0]) for seed in range(5)}
    theirs = {seed: np.array([1.0 + seed, 2.0]) for seed in range(5)}
    for position, mean in ((0, 2.0), (-1, -1.0)):
        rule = rules.differs_at("x", "a", ["b"], rules.ABOVE_0, position)
        (found,) = rule(_evidence(2, a=ours, b=theirs))
        assert found.mean == pytest.approx(mean)
        assert found.is_shown == (mean > 0)
