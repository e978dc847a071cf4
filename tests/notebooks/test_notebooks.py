"""The notebooks run from top to bottom, and are short and clean."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_DIRECTORY = Path(__file__).parents[2] / "notebooks"
_MOST_LINES = 10


def _code(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


_NOTEBOOKS = sorted(_DIRECTORY.glob("*.ipynb"))


@pytest.mark.parametrize("notebook", _NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(notebook):
    """Their cells are plain Python, so they are run as a program."""
    program = "\n\n".join(_code(notebook))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=_DIRECTORY,
        env={**os.environ, "MPLBACKEND": "agg", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()


@pytest.mark.parametrize("notebook", _NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_short_and_have_no_output(notebook):
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert len(cell["source"]) <= _MOST_LINES
            assert cell["outputs"] == []


def test_there_are_notebooks():
    assert len(_NOTEBOOKS) == 3
