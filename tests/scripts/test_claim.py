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
