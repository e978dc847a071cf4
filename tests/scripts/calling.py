"""Calls scripts as a user does."""

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def call(script: str, *arguments: str, limit_bytes: int | None = None, **variables: str):
    def limit_file_size():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.run(
        [sys.executable, "-m", f"scripts.{script}", *arguments],
        cwd=_ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        preexec_fn=limit_file_size if limit_bytes else None,
    )


def error_of(result: subprocess.CompletedProcess) -> str:
    """The one line of an error; fails if there is more, or no error."""
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]
