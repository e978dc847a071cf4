"""Calls scripts as a user does."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def call(
    script: str, *arguments: str, limit_bytes: int | None = None, **variables: str
) -> subprocess.CompletedProcess:
    """In a process of its own; in a new interpreter if its surroundings are to be others.

    Args:
      script: of scripts/, without the ending.
      arguments: of its command line.
      limit_bytes: no file may become longer.
      variables: of the environment.
    """
    if limit_bytes or variables:
        return _call_alone(script, arguments, limit_bytes, variables)
    with tempfile.TemporaryDirectory() as directory:
        paths = {name: os.path.join(directory, name) for name in ("stdout", "stderr")}
        code = _ask({"script": script, "arguments": arguments, **paths})
        output = {name: Path(path).read_text() for name, path in paths.items()}
    return subprocess.CompletedProcess((script, *arguments), code, **output)


def _ask(request: dict[str, object]) -> int:
    """Has the server answer a request; one that has ended, or was left, is not used again."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        print(json.dumps(request), file=server.stdin, flush=True)
        answer = server.stdout.readline()
        if not answer:
            raise RuntimeError(f"tests.scripts.forked has ended with {server.wait()}")
        return int(answer)
    except BaseException:
        _server.cache_clear()
        raise


@functools.cache
def _server() -> subprocess.Popen:
    """From which calls are forked. It ends when this process does."""
    command = [sys.executable, "-m", "tests.scripts.forked"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, cwd=_ROOT, text=True, **pipes)


def _call_alone(script, arguments, limit_bytes, variables) -> subprocess.CompletedProcess:
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
