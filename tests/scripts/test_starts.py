"""What a command has not imported when it can already answer."""

import subprocess
import sys
from pathlib import Path

from tests.scripts.calling import error_of

_ROOT = Path(__file__).parents[2]
# Prints, at the very end, which of the slow packages were imported.
_PROGRAM = """
import atexit, runpy, sys
slow = ("jax", "numpy", "haiku", "rlax", "matplotlib", "tensorboardX")
atexit.register(lambda: print("imported:", *[name for name in slow if name in sys.modules]))
sys.argv = ["train", *sys.argv[1:]]
runpy.run_module("scripts.train", run_name="__main__")
"""


def _run(*arguments):
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, cwd=_ROOT
    )


def _imported(result):
    return result.stdout.splitlines()[-1].split()[1:]


def test_help_imports_nothing_that_is_slow():
    result = _run("--help")
    assert "--config" in result.stdout
    assert _imported(result) == []


def test_a_missing_config_is_told_of_at_once():
    result = _run()
    assert "--config is missing" in error_of(result)
    assert "jax" not in _imported(result)


def test_a_bad_key_is_told_of_before_what_logs_and_plots_is_imported():
    result = _run("--config=configs/rainbow.py", "--config.agent.numatoms=1")
    assert "numatoms" in error_of(result)
    assert not {"matplotlib", "tensorboardX"} & set(_imported(result))


def test_what_only_learning_needs_is_not_imported_before_it():
    result = _run("--config=configs/probe.py:9")
    assert "environment.probe = 9" in error_of(result)
    assert {"haiku", "rlax"} & set(_imported(result)) == {"haiku"}
