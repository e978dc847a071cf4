"""Differences by seed against numbers by hand; equivalence and first passages in a report."""

import numpy as np
import pytest

from analysis import comparison, pairing, run_records
from analysis.reporting import report


def test_two_one_sided_tests_by_hand():
    """Differences 1, 2, 3: mean 2, standard error 1 / sqrt 3; t of 2 degrees at 95 % is 2.92."""
    first, second = {1: 0.0, 2: 0.0, 3: 0.0, 9: 5.0}, {1: 1.0, 2: 2.0, 3: 3.0, 8: 100.0}
    found = pairing.estimate(pairing.differences(second, first, "second"), 0.9)
    half = 2.91999 / np.sqrt(3)
    assert found == pytest.approx((2, 2 - half, 2 + half, 3), rel=1e-5)
    assert found.is_within(4.0)
    assert not found.is_within(3.6)


def test_the_interval_of_a_mean_by_hand():
    """Of 0 and 2: mean 1, standard error 1; t of 1 degree at 97.5 % is 12.7062."""
    found = pairing.estimate(np.array([0, 2]))
    assert found == pytest.approx((1, 1 - 12.7062, 1 + 12.7062, 2), rel=1e-5)


def test_a_report_tells_both(make_run, tmp_path):
    paths = [
        make_run(name, "boxing", seed, [(50, 0, None, first), (100, 0, None, 5.0 + 0.1 * seed)])
        for name, first in (("rainbow", 1.0), ("rainbow_ln", 5.0))
        for seed in (1, 2)
    ]
    runs = [run_records.load(path) for path in paths]
    assert comparison.first_reached(runs[:2], 5.0) == {1: 100, 2: 100}
    assert comparison.first_reached(runs[:2], 99.0) == {1: np.inf, 2: np.inf}
    report.write(runs, tmp_path / "out", report.Options(margin=0.5, threshold=5.0))
    rows = (tmp_path / "out" / "equivalence.csv").read_text().splitlines()
    assert rows[2].startswith('boxing,rainbow_ln,2,"5.15 [')
    assert rows[2].endswith('"+0.00 [+0.00, +0.00]",yes')
    report.write(runs, tmp_path / "far", report.Options(margin=0.0, threshold=99.0))
    assert (tmp_path / "far" / "threshold.csv").read_text().splitlines()[1] == (
        "boxing,rainbow,0 of 2,never,never,never"
    )
    assert not (tmp_path / "far" / "equivalence.csv").exists()
    thresholds = (tmp_path / "out" / "threshold.csv").read_text().splitlines()
    assert thresholds[1:] == [
        "boxing,rainbow,2 of 2,100,100,100",
        "boxing,rainbow_ln,2 of 2,50,50,50",
    ]
