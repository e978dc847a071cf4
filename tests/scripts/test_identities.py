"""scripts.identities as a user calls it; plasticity/identities.py has tests of its own."""

import subprocess
import sys

from tests.scripts.calling import error_of

# Whoever measures first fails with a traceback.
_NOT_MEASURING = """
from scripts import command_line, identities
identities.identities.distances = None
command_line.run(identities.main)
"""


def test_an_output_that_is_a_file_is_refused_before_anything_is_measured(tmp_path):
    output = tmp_path / "file"
    output.write_text("mine")
    command = [sys.executable, "-c", _NOT_MEASURING, "--problems=201", f"--output={output}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert error_of(result).startswith(f"error: output = '{output}': not written: ")
    assert output.read_text() == "mine"
