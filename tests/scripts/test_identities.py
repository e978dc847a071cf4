"""scripts.identities as a user calls it; plasticity/identities.py has tests of its own."""

from tests.scripts.calling import call, error_of


def test_an_output_that_is_a_file_is_refused_before_anything_is_measured(tmp_path):
    output = tmp_path / "file"
    output.write_text("mine")
    result = call("identities", "--problems=201", f"--output={output}")
    assert error_of(result).startswith(f"error: output = '{output}': not written: ")
    assert output.read_text() == "mine"
