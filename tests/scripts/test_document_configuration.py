"""docs/configuration.md is what the code says."""

from scripts import document_configuration


def test_the_page_is_not_stale():
    """If it is: python -m scripts.document_configuration."""
    assert document_configuration.PATH.read_text() == document_configuration.make_page()


def test_a_key_has_its_default_meaning_and_source():
    row = "| `transition.n_step` | `3` | an integer >= 1 | n of the returns | DQN Zoo's Rainbow |"
    assert row in document_configuration.make_page()
