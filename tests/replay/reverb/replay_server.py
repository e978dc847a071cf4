"""A real replay server for tests; needs its environment: make replay-env."""

import json
import time
from pathlib import Path

import pytest

from cluster.supervision import processes

PYTHON = Path(__file__).parents[3] / ".venv-replay/bin/python"

needs_server = pytest.mark.skipif(
    not PYTHON.with_name("pip").exists() or not PYTHON.exists(),
    reason="no replay server's environment: make replay-env",
)

START_S = 600.0


def prioritized(name, **changes):
    table = {
        "name": name,
        "kind": "prioritized",
        "max_size": 1000,
        "min_size": 1,
        "priority_exponent": 0.5,
    }
    return {**table, **changes}


TABLES = (
    prioritized("free"),
    prioritized("small", max_size=3),
    prioritized("filled", min_size=4),
    {"name": "parameters", "kind": "latest"},
)
# Stored priorities are the sampling weights; one table for each capacity that is asked for.
CAPACITIES = (14, 16, 28, 40, 42, 1000)


def transitions_table(capacity):
    """The name of the table of that capacity."""
    return f"transitions_{capacity}"


TRANSITIONS = tuple(
    prioritized(transitions_table(capacity), max_size=capacity, priority_exponent=1.0)
    for capacity in CAPACITIES
)


class Server:
    """A replay server in a directory; its checkpoints stay when it ends."""

    def __init__(self, directory, tables=TABLES, port=0):
        self.ready = directory / "port"
        flags = {
            "port": port,
            "tables": json.dumps(tables),
            "checkpoint_dir": directory / "checkpoints",
            "ready_file": self.ready,
        }
        command = [str(PYTHON), "-m", "replay.reverb.server"]
        command += [f"--{name}={value}" for name, value in flags.items()]
        self.process = processes.Process(command, directory / "log")

    def wait_until_ready(self):
        while not self.ready.exists():
            ended = self.process.poll() is not None or self.process.seconds > START_S
            assert not ended, self.process.lines()
            time.sleep(0.05)
        self.port = int(self.ready.read_text())
        self.address = f"127.0.0.1:{self.port}"
        return self

    def wait_for_end(self):
        """The exit code; None if it is still there after the time that a start may take."""
        while self.process.poll() is None and self.process.seconds < START_S:
            time.sleep(0.05)
        return self.process.poll()

    def end(self, number):
        self.process.send(number)
        return self.process.wait()
