"""The steps of docs/adding.md, as a reader does them, in a copy of the project."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PACKAGES = (
    *("agents", "analysis", "cluster", "configs", "core", "envs", "networks", "plasticity"),
    *("replay", "scripts", "training"),
)


def _steps() -> str:
    """The shell commands of the section about agents."""
    text = (_ROOT / "docs" / "adding.md").read_text()
    section = text.partition("## An agent, step by step")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL))


def _copy(directory: Path) -> Path:
    for package in _PACKAGES:
        shutil.copytree(_ROOT / package, directory / package)
    return directory


def test_the_steps_make_an_agent_that_learns(tmp_path):
    directory = _copy(tmp_path)
    # What a reader calls `python` is the environment's.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euc", _steps()],
        cwd=directory,
        env={**os.environ, "PATH": path, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with (directory / "runs" / "mellow_probe" / "train.csv").open(newline="") as stream:
        last = list(csv.DictReader(stream))[-1]
    # With a fifth of uniform actions, half of which are right, the policy's 1 becomes 0.8.
    assert float(last["mean_return"]) > 0.6
    assert "logsumexp" in (directory / "my_lab" / "mellow_dqn.py").read_text()
    config = (directory / "runs" / "mellow" / "config.json").read_text()
    assert '"note": "tried"' in config
