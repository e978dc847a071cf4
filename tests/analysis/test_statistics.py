"""Statistics against hand-computed targets, known distributions and rliable."""

import functools
import time

import numpy as np
import pytest

from analysis import statistics
from core import checks

_SCORES = {"a": np.array([0.0, 2.0]), "b": np.array([1.0, 4.0, 1.0]), "c": np.array([10.0])}
_COIN = {"a": np.array([0.0, 1.0])}
_COINS = {**_COIN, "b": np.array([0.0, 1.0])}


def test_mean_and_median_are_over_tasks_of_means_over_runs():
    # Means over runs: 1, 2, 10.
    assert float(statistics.mean(_SCORES)) == pytest.approx(13 / 3)
    assert float(statistics.median(_SCORES)) == 2.0
    even = {task: _SCORES[task] for task in ("a", "b")}
    assert float(statistics.median(even)) == 1.5


def test_iqm_pools_the_runs_of_all_tasks():
    # Of 0 1 1 2 4 10 one is cut at either end: a quarter of six is one and a half.
    assert float(statistics.iqm(_SCORES)) == 2.0
    # Of 0 1 ... 7 two are cut: the mean of 2 3 4 5.
    assert float(statistics.iqm({"a": np.arange(8.0)})) == 3.5
    assert float(statistics.iqm({"a": np.array([1.0, 8.0, 3.0])})) == 4.0


def test_optimality_gap_clips_at_gamma():
    # Clipped at 1, means over runs are 1/2, 1, 1; at 2 they are 1, 4/3, 2.
    assert float(statistics.optimality_gap(_SCORES)) == pytest.approx(1 / 6)
    assert float(statistics.optimality_gap(_SCORES, gamma=2)) == pytest.approx(5 / 9)


def test_performance_profile_counts_what_is_strictly_above():
    # Above 1: 1/2, 1/3, 1 of the runs; above 2: 0, 1/3, 1.
    profile = statistics.performance_profile(_SCORES, np.array([-1.0, 1.0, 2.0, 10.0]))
    np.testing.assert_allclose(profile, [1, 11 / 18, 4 / 9, 0])


def test_probability_of_improvement_is_over_pairs_with_half_for_equal():
    x = {"a": np.array([0.0, 2.0, 1.0]), "b": np.array([3.0]), "only in x": np.array([9.0])}
    y = {"b": np.array([1.0]), "a": np.array([1.0, 1.0])}
    # a: 2 wins twice, 1 ties twice, 0 loses twice; b: certain.
    assert float(statistics.probability_of_improvement(x, y)) == 0.75
    assert float(statistics.probability_of_improvement(y, x)) == 0.25


@pytest.mark.parametrize(
    "statistic",
    [
        statistics.mean,
        statistics.median,
        statistics.iqm,
        statistics.optimality_gap,
        functools.partial(statistics.performance_profile, thresholds=np.array([0.5, 2.0])),
        lambda scores: statistics.probability_of_improvement(scores, _SCORES),
    ],
)
def test_leading_axes_are_kept(statistic):
    stacked = {task: np.stack([values, values + 1]) for task, values in _SCORES.items()}
    both = statistic(stacked)
    np.testing.assert_allclose(both[0], statistic(_SCORES))
    np.testing.assert_allclose(both[1], statistic({t: v + 1 for t, v in _SCORES.items()}))


def test_interval_of_two_runs():
    """Means of a resampled pair 0, 1 are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4."""
    assert statistics.stratified_bootstrap(statistics.mean, _COIN) == (0.0, 1.0)
    narrow = statistics.stratified_bootstrap(statistics.mean, _COIN, confidence=0.4)
    assert narrow == (0.5, 0.5)


def test_runs_are_resampled_within_each_task_independently():
    """The mean of two such tasks is 0, 1/4, ..., 1 with probabilities 1, 4, 6, 4, 1 of 16."""
    interval = functools.partial(
        statistics.stratified_bootstrap, statistics.mean, _COINS, num_samples=20_000
    )
    # A twentieth on either side is less than a sixteenth, a tenth is more.
    assert interval(confidence=0.9) == (0.0, 1.0)
    # Draws shared by the tasks would give 0 and 1 here too.
    assert interval(confidence=0.8) == (0.25, 0.75)
    apart = {"a": np.zeros(3), "b": np.full(3, 100.0)}
    assert statistics.stratified_bootstrap(statistics.mean, apart) == (50.0, 50.0)


def test_arguments_are_resampled_independently():
    """Half of 1 + difference of two means: 0, 1/4, ..., 1 with 1, 4, 6, 4, 1 of 16."""
    interval = functools.partial(
        statistics.stratified_bootstrap, statistics.probability_of_improvement, _COIN, dict(_COIN)
    )
    assert interval(confidence=0.95) == (0.0, 1.0)
    assert interval(confidence=0.8) == (0.25, 0.75)


def test_one_run_per_task_is_degenerate_and_can_be_seen():
    single = {"a": np.array([1.0]), "b": np.array([3.0])}
    assert statistics.stratified_bootstrap(statistics.mean, single) == (2.0, 2.0)
    assert statistics.num_runs(single) == 1
    assert statistics.num_runs(_SCORES) == 1
    assert statistics.num_runs(_COINS) == 2


def test_interval_of_a_profile_has_its_shape():
    profile = functools.partial(statistics.performance_profile, thresholds=np.array([-1.0, 0.5]))
    low, high = statistics.stratified_bootstrap(profile, _COIN)
    np.testing.assert_array_equal(low, [1.0, 0.0])
    np.testing.assert_array_equal(high, [1.0, 1.0])


def test_seed_decides_the_interval():
    scores = {"a": np.random.default_rng(0).normal(size=7)}
    interval = functools.partial(
        statistics.stratified_bootstrap, statistics.mean, scores, num_samples=50
    )
    assert interval(seed=1) == interval(seed=1)
    assert interval(seed=1) != interval(seed=2)


def test_atari_57_takes_well_under_two_seconds():
    scores, _ = _matrices(runs=5, tasks=57)
    start = time.perf_counter()
    statistics.stratified_bootstrap(statistics.iqm, _by_task(scores))
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({}, "expected one task or more"),
        ({"pong": np.array([])}, r"scores\['pong'\] = \[\]"),
        ({"pong": np.array([1.0, np.nan])}, r"scores\['pong'\] = \[ 1. nan\]"),
    ],
)
def test_bad_scores(scores, expected):
    for statistic in (statistics.mean, statistics.iqm, statistics.num_runs):
        with pytest.raises(checks.ConfigError, match=expected):
            statistic(scores)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num_samples": 0}, "bootstrap.num_samples = 0: expected"),
        ({"confidence": 1.5}, "bootstrap.confidence = 1.5: expected"),
        ({"confidence": 0}, "bootstrap.confidence = 0: expected"),
        ({"seed": -1}, "bootstrap.seed = -1: expected"),
    ],
)
def test_bad_options(options, expected):
    with pytest.raises(checks.ConfigError, match=expected):
        statistics.stratified_bootstrap(statistics.mean, _COIN, **options)


def test_arguments_that_do_not_fit():
    with pytest.raises(checks.ConfigError, match="of a and of b: no task in common"):
        statistics.probability_of_improvement(_COIN, {"b": np.zeros(2)})
    with pytest.raises(checks.ConfigError, match=r"of shape \(2, 2\): expected \[runs\]"):
        statistics.stratified_bootstrap(statistics.mean, {"a": np.zeros((2, 2))})


# Against rliable, which takes matrices [runs, tasks].


@pytest.fixture(scope="module")
def rliable():
    """Its modules of statistics and of intervals."""
    pytest.importorskip("rliable")
    try:
        from rliable import library, metrics
    except TypeError as error:
        pytest.skip(f"rliable does not work with this version of pandas: {error}")
    return metrics, library


def _matrices(runs: int = 5, tasks: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Scores with outliers, and others with some equal ones, [runs, tasks]."""
    rng = np.random.default_rng(7)
    x = rng.lognormal(size=(runs, tasks)) * np.linspace(0.2, 3, tasks)
    y = np.where(rng.random(x.shape) < 0.2, x, x * rng.lognormal(sigma=0.5, size=x.shape))
    return x, y


def _by_task(matrix: np.ndarray) -> dict[str, np.ndarray]:
    return {f"task {i}": column for i, column in enumerate(matrix.T)}


_PAIRS = [
    (statistics.mean, "aggregate_mean"),
    (statistics.median, "aggregate_median"),
    (statistics.iqm, "aggregate_iqm"),
    (statistics.optimality_gap, "aggregate_optimality_gap"),
]


@pytest.mark.parametrize(("ours", "theirs"), _PAIRS)
@pytest.mark.parametrize("runs", [1, 3, 5, 10])
def test_statistics_equal_those_of_rliable(rliable, ours, theirs, runs):
    metrics, _ = rliable
    for matrix in _matrices(runs):
        expected = getattr(metrics, theirs)(matrix)
        np.testing.assert_allclose(ours(_by_task(matrix)), expected, rtol=1e-13)


def test_profile_and_improvement_equal_those_of_rliable(rliable):
    metrics, library = rliable
    x, y = _matrices()
    thresholds = np.linspace(0, 8, 33)
    np.testing.assert_allclose(
        statistics.performance_profile(_by_task(x), thresholds),
        library.score_distributions(x, thresholds),
    )
    np.testing.assert_allclose(
        statistics.probability_of_improvement(_by_task(x), _by_task(y[:3])),
        metrics.probability_of_improvement(x, y[:3]),
    )


def _check_interval(ours: statistics.Interval, theirs: np.ndarray, num_samples: int) -> None:
    """Four standard errors of the difference of two 2.5 % quantiles, of a normal distribution."""
    low, high = theirs[:, 0]
    deviation = (high - low) / 3.92
    standard_error = deviation * np.sqrt(0.025 * 0.975 / num_samples) / 0.0584
    np.testing.assert_allclose(ours, (low, high), rtol=0, atol=4 * np.sqrt(2) * standard_error)


@pytest.mark.parametrize(("ours", "theirs"), _PAIRS)
def test_intervals_agree_with_those_of_rliable(rliable, ours, theirs):
    metrics, library = rliable
    matrix, _ = _matrices()
    # Its resampling draws from NumPy's global generator.
    np.random.seed(0)  # noqa: NPY002
    _, intervals = library.get_interval_estimates(
        {"x": matrix}, lambda scores: np.array([getattr(metrics, theirs)(scores)]), reps=4000
    )
    interval = statistics.stratified_bootstrap(ours, _by_task(matrix), num_samples=4000)
    _check_interval(interval, intervals["x"], 4000)


def test_interval_of_improvement_agrees_with_that_of_rliable(rliable):
    metrics, library = rliable
    x, y = _matrices(runs=6, tasks=3)
    np.random.seed(0)  # noqa: NPY002
    _, intervals = library.get_interval_estimates(
        {"x,y": [x, y[:4]]},
        lambda a, b: np.array([metrics.probability_of_improvement(a, b)]),
        reps=1000,
    )
    interval = statistics.stratified_bootstrap(
        statistics.probability_of_improvement, _by_task(x), _by_task(y[:4]), num_samples=1000
    )
    _check_interval(interval, intervals["x,y"], 1000)
