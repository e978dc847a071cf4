"""The ledger as a user calls it."""

from scripts import claim
from tests.scripts.calling import call, error_of


def test_the_page_is_up_to_date():
    """If it is not: python -m scripts.claim --page."""
    assert claim.PAGE.read_text() == claim.make_page()


def test_all_claims_are_listed():
    result = call("claim", "--list")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("N1 ")
    assert lines[-1].startswith("P16 ")


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
