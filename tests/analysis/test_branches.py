"""Branches beside the runs that they left."""

import json
import shutil

import pytest

from analysis import branches, run_records
from analysis.reporting import report
from core import checks
from tests.analysis import conftest

_CHANGES = {"optimizer.learning_rate": 0.1, "interventions": [{"module": "redo", "rate": 1}]}


@pytest.fixture
def make_pair(make_run):
    """(seed, returns of the run, of its branch) -> both; they part at frame 40."""

    def make(seed, of_run, of_branch, game="boxing", **overrides):
        found = []
        for name, returns in (("rainbow", of_run), ("rainbow_ln", of_branch)):
            evaluations = [(frames, 0, game, value) for frames, value in returns.items()]
            path = make_run(name, game, seed, evaluations, frames=100, **overrides)
            rows = [
                {"frames": f, "seed": seed, "return": value, "env_id": 0}
                for f, value in returns.items()
            ]
            conftest.write_csv(path / "episodes.csv", rows)
            found.append(path)
        left = {"run_dir": str(found[0]), "frames": 40, "changes": _CHANGES}
        (found[1] / "branch.json").write_text(json.dumps(left))
        return [run_records.load(path) for path in found]

    return make


def test_pairs_are_compared_after_they_parted(make_pair):
    runs = [
        *make_pair(1, {20: 9.0, 60: 1.0, 80: 3.0}, {60: 4.0, 80: 6.0}),
        *make_pair(2, {20: 9.0, 60: 5.0, 80: 5.0}, {60: 5.0, 80: 7.0, 90: 6.0}),
    ]
    pairs, notes = branches.find(runs)
    assert not notes
    assert {pair.label for pair in pairs} == {
        "optimizer.learning_rate: 0.1; interventions: redo(rate=1)"
    }
    training = branches.training_difference(pairs)
    # Run: (1 + 3) / 2 and 5; branches: 5 and 6.
    assert training.run == pytest.approx(3.5)
    assert training.branch == pytest.approx(5.5)
    assert (training.value, training.low, training.high) == pytest.approx((2.0, 1.0, 3.0))
    # Runs 2 and 5, branches 5 and 6, resampled apart: from 5 - 5 to 6 - 2.
    assert training.unpaired == pytest.approx((0.0, 4.0))
    # The last that both have is at frame 80: 3 -> 6 and 5 -> 7.
    evaluation = branches.evaluation_difference(pairs)
    assert (evaluation.value, evaluation.low, evaluation.high) == pytest.approx((2.5, 2.0, 3.0))
    assert evaluation.pairs == 2


def test_a_report_has_branches_apart_from_whole_runs(make_pair, tmp_path):
    runs = make_pair(1, {20: 9.0, 60: 1.0}, {60: 4.0})
    report.write(runs, tmp_path / "out", report.Options())
    row = (tmp_path / "out" / "branches.csv").read_text().splitlines()[1]
    assert row.startswith(
        'optimizer.learning_rate: 0.1; interventions: redo(rate=1),"rainbow, boxing",40,1,'
    )
    assert '1.00,4.00,"+3.00 [+3.00, +3.00]","[+3.00, +3.00]"' in row
    assert (tmp_path / "out" / "branches.png").exists()
    assert "rainbow_ln" not in (tmp_path / "out" / "single_games.csv").read_text()


def test_branches_of_runs_that_are_not_alike_are_no_pairs_of_one_kind(make_pair):
    runs = make_pair(1, {60: 1.0}, {60: 4.0})
    runs += make_pair(2, {60: 1.0}, {60: 4.0}, **{"transition.n_step": 5})
    # The branches alone are alike.
    runs[3] = runs[3]._replace(config={**runs[1].config, "seed": 2})
    with pytest.raises(checks.ConfigError, match=r"transition\.n_step = 5 instead of 3"):
        branches.group(branches.find(runs)[0])


def test_a_branch_that_was_made_twice_is_refused(make_pair, tmp_path):
    run, branch = make_pair(1, {60: 1.0}, {60: 4.0})
    shutil.copytree(branch.path, tmp_path / "again")
    again = run_records.load(tmp_path / "again")
    message = rf"again: seed 1 of boxing comes a second time, first in {branch.path}"
    with pytest.raises(checks.ConfigError, match=message):
        branches.group(branches.find([run, branch, again])[0])


def test_a_branch_without_its_run_is_noted(make_pair):
    run, branch = make_pair(1, {60: 1.0}, {60: 4.0})
    (run.path / "config.json").unlink()
    pairs, notes = branches.find([branch])
    assert not pairs
    assert len(notes) == 1
    assert notes[0].startswith(f"{branch.path}: the run that it left is not there")
    assert branches.training_difference(pairs) is None


def test_a_damaged_record_of_a_branch_is_named(make_pair):
    _, branch = make_pair(1, {60: 1.0}, {60: 4.0})
    (branch.path / "branch.json").write_text('{"frames": 1}')
    with pytest.raises(checks.ConfigError, match=r"branch.json: expected run_dir, frames"):
        run_records.load(branch.path)
