"""Check of the replay server's environment: starts the server, writes an item and reads it."""

import importlib.util
import json
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np

from cluster.doctor.finding import Finding, Level
from cluster.supervision import log_lines, processes

_NAME = "replay server"
_PACKAGES = ("grpc", "cramjam", "google.protobuf")
_INSTALL = "pip install -c constraints.txt -e '.[distributed]'"
_START_SECONDS = 90.0
_CALL_SECONDS = 30.0
_TABLE = {
    "name": "doctor",
    "kind": "prioritized",
    "max_size": 1,
    "min_size": 1,
    "priority_exponent": 1.0,
}


def check(python: Path) -> Finding:
    """Whether scripts.launch finds what it needs; a run of one process needs none of it.

    Args:
      python: the interpreter of the server's environment.
    """
    lacking = [name for name in _PACKAGES if not _is_installed(name)]
    if lacking:
        found = f"not for scripts.launch: no {', '.join(lacking)}"
        return Finding(_NAME, Level.WARNING, found, _INSTALL)
    if not os.access(python, os.X_OK) or python.is_dir():
        found = f"not for scripts.launch: no {python}"
        return Finding(_NAME, Level.WARNING, found, "make replay-env")
    with tempfile.TemporaryDirectory(prefix="doctor-") as directory:
        return _try_server(python, Path(directory))


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def _try_server(python: Path, directory: Path) -> Finding:
    ready = directory / "port"
    flags = {
        "port": 0,
        "tables": json.dumps([_TABLE]),
        "checkpoint_dir": directory / "checkpoints",
        "ready_file": ready,
    }
    command = [str(python), "-m", "replay.reverb.server"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    server = processes.Process(command, directory / "log")
    try:
        while not ready.exists():
            if server.poll() is not None or server.seconds > _START_SECONDS:
                found = f"{python} does not serve: {log_lines.error(server.lines())}"
                return Finding(_NAME, Level.FAILURE, found, "make clean-replay-env replay-env")
            time.sleep(0.05)
        seconds = server.seconds
        _write_and_read(f"127.0.0.1:{int(ready.read_text())}")
    finally:
        server.send(signal.SIGKILL)
        server.wait()
    return Finding(_NAME, Level.OK, f"served after {seconds:.0f} s, gave back what was written")


def _write_and_read(address: str) -> None:
    """Raises WireError or ValueError if an item is not given back as it was."""
    from replay.reverb import wire  # needs the packages that were looked for

    sent = np.arange(6, dtype=np.float32).reshape(2, 3)
    with wire.Client(address) as client:
        client.wait_until_ready(_CALL_SECONDS)
        with wire.Writer(client) as writer:
            writer.insert([writer.arrays(_TABLE["name"], [sent], priority=1.0)])
            writer.flush(_CALL_SECONDS)
        with wire.Sampler(client, _TABLE["name"]) as sampler:
            (drawn,) = sampler.take(1, timeout_s=_CALL_SECONDS)
            received = np.asarray(drawn.columns[0])
    if not np.array_equal(received.reshape(sent.shape), sent):
        raise ValueError(f"the server at {address} gave back another item than was written")
