"""Runs scripts in forks of itself: most of a short call's time goes into importing packages.

Reads a line of JSON for each call, one after another, and answers each with its exit code. The
project's own modules are imported by each script, as ever.
"""

import gc
import json
import os
import runpy
import signal
import sys
from typing import Any

import ale_py  # noqa: F401
import gymnasium  # noqa: F401
import haiku  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import optax  # noqa: F401
import rlax  # noqa: F401
import tensorboardX  # noqa: F401

_MOST_SECONDS = 900


def _serve() -> dict[str, Any]:
    """Answers calls until there are no more; in a fork, returns the call that it has to run."""
    for line in iter(sys.stdin.readline, ""):
        call = json.loads(line)
        pid = os.fork()
        if not pid:
            return call
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    sys.exit()


def _take_over(call: dict[str, Any]) -> None:
    """Makes this process the one of a call."""
    signal.alarm(_MOST_SECONDS)
    sys.argv = ["", *call["arguments"]]
    for descriptor, path in enumerate((os.devnull, call["stdout"], call["stderr"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    todo = _serve()
    _take_over(todo)
    runpy.run_module(f"scripts.{todo['script']}", run_name="__main__", alter_sys=True)
