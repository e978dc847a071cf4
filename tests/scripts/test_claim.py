"""The ledger as a user calls it."""

import pytest

from cluster.sweeps import sweep_jobs, sweep_record
from core import checks
from scripts import claim
from tests.scripts.calling import call, error_of
from training.system import exit_codes


def test_the_page_is_up_to_date():
    """If it is not: python -m scripts.claim --page."""
    assert claim.PAGE.read_text() == claim.make_page()


def test_all_claims_are_listed():
    result = call("claim", "--list")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("N1 ")
    assert lines[-1].startswith("P16 ")
    (number,) = (i for i, line in enumerate(lines) if line.startswith("N14 "))
    assert lines[number].startswith("N14  by experiment ")
    # One below the other, so that the columns stay.
    assert lines[number + 1].endswith(" classification_stream")


def test_a_claim_that_cant_be_run_says_why():
    assert "claim = 'N99': expected one of N1, N2" in error_of(call("claim", "N99"))
    assert "claim = 'N16': can't be run: 57 games" in error_of(call("claim", "N16"))
    message = error_of(call("claim", "N15", "--experiments=point_mass_iql"))
    assert "experiments = 'point_mass_iql': expected one of N15's" in message


def test_runs_of_another_commit_are_not_continued(tmp_path):
    run = tmp_path / "classification_stream" / "small" / "test" / "seed_1"
    run.mkdir(parents=True)
    (run / "provenance.jsonl").write_text('{"commit": "ffffffffffff"}\n')
    message = error_of(
        call("claim", "N15", "--experiments=classification_stream", f"--root={tmp_path}")
    )
    assert "seed_1: of commit fffffffff, and the code is of " in message


@pytest.mark.parametrize("exit_code", [exit_codes.NOT_FINITE, exit_codes.FAILED, -9])
def test_only_numbers_are_failures_that_an_experiment_judges(tmp_path, exit_code):
    """Not a machine without memory, which says nothing of a learning rate."""
    grid = sweep_jobs.Grid(["configs/probe.py"], ["1"], [1, 2])
    record = sweep_record.SweepRecord(tmp_path)
    record.begin(grid, grid.jobs())
    for job, code in zip(grid.jobs(), (0, exit_code)):
        states = sweep_record.RunState
        record.ended(job, states.FAILED if code else states.FINISHED, code, 1.0)
    asked = ["--configs=configs/probe.py", "--arguments=1", "--seeds=1,2", f"--root={tmp_path}"]
    if exit_code == exit_codes.NOT_FINITE:
        claim.check_failures([*asked, "--"])
        return
    with pytest.raises(checks.ConfigError, match=r"seed_2\.log: the run failed with (exit|SIG)"):
        claim.check_failures([*asked, "--"])
