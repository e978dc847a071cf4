"""The replay role as a process, with a real server where its environment is."""

import dataclasses
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cluster import context
from cluster.roles import replay
from cluster.supervision import processes
from cluster.sweeps import sweep_jobs
from replay.reverb import connection, wire
from replay.reverb import tables as settings
from replay.reverb.server import confine
from tests import waiting
from training import derived, run_directory
from training.system import exit_codes

_ROOT = Path(__file__).parents[3]
_PYTHON = _ROOT / ".venv-replay/bin/python"
_START_SECONDS = 600.0
_CONFIG = "--config=configs/probe.py:1"

needs_server = pytest.mark.skipif(
    not _PYTHON.with_name("pip").exists() or not _PYTHON.exists(),
    reason="no replay server's environment: make replay-env",
)
# ml_collections loads config files in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module")


@pytest.fixture
def run_dir(tmp_path, monkeypatch) -> Path:
    """The directory of a run that a learner has begun."""
    monkeypatch.chdir(_ROOT)
    path = tmp_path / "run"
    run_directory.claim(path, _config())
    return path


def _config():
    return sweep_jobs.load(sweep_jobs.Job("configs/probe.py", "1", 1))


def _role(run_dir: Path) -> context.Role:
    return context.Role("replay", derived.resolve(_config()), run_dir, num_actors=2)


class _Running:
    """The role in a process of its own, and the address that it publishes."""

    def __init__(self, run_dir: Path, *flags: str):
        self.role = _role(run_dir)
        self._begin = time.time()
        program = [sys.executable, "-m", "scripts.launch", _CONFIG, "--role=replay"]
        command = [*program, f"--run_dir={run_dir}", "--config.seed=1", *flags]
        self.process = processes.Process(command, run_dir / "logs" / "replay.log")

    def address(self) -> str:
        file = self.role.address_file
        while not file.exists() or file.stat().st_mtime < self._begin:
            self._check()
        return file.read_text().split()[0]

    def end(self) -> int:
        while self.process.poll() is None:
            self._check()
        return self.process.wait()

    def _check(self) -> None:
        assert self.process.seconds < _START_SECONDS, self.process.lines()
        time.sleep(0.05)


@pytest.fixture
def start(run_dir):
    started = []

    def start_one(*flags: str) -> _Running:
        started.append(_Running(run_dir, *flags))
        return started[-1]

    yield start_one
    for running in started:
        running.process.send(signal.SIGKILL)
        running.process.wait()


@needs_server
def test_killed_server_comes_up_at_the_same_port_with_its_checkpoint(start, run_dir):
    running = start()
    address = running.address()
    assert address.startswith("localhost:")
    with wire.Client(address) as client:
        tables = client.server_info()
        described = settings.tables(running.role.settings.replay)
        assert set(tables) == {table["name"] for table in described}
        with wire.Writer(client) as writer:
            writer.insert([writer.arrays(settings.PARAMETERS, [np.int32(7)], 1.0)])
            writer.flush()
        client.checkpoint(timeout_s=600)
    running.process.send(signal.SIGKILL)  # the server dies with it
    assert running.end() == -signal.SIGKILL

    running = start()
    assert running.address() == address
    with wire.Client(address) as client:
        assert client.server_info()[settings.PARAMETERS].size == 1
        known = (address, f"{client.incarnation(600):032x}")
        waiting.wait_for(lambda: connection.read_address(running.role.address_file) == known)
    status = context.read_status(run_dir, "replay")
    assert status["address"] == address
    running.process.send(signal.SIGTERM)
    assert running.end() == 0
    assert running.role.address_file.read_text().split()[0] == address


@needs_server
def test_input_that_the_server_refuses(start, run_dir):
    (run_dir / "replay" / "checkpoints").mkdir(parents=True)
    (run_dir / "replay" / "checkpoints" / "letter.txt").write_text("dear")
    running = start()
    assert running.end() == exit_codes.REFUSED
    last = running.process.lines()[-1]
    assert last.startswith("error: the replay server does not start: checkpoint_dir = ")
    assert "letter.txt" in last
    assert not running.role.address_file.exists()


@needs_server
@pytest.mark.parametrize("host", ["[::1]", "0.0.0.0"])
def test_clients_reach_the_server_at_the_address_that_it_publishes(start, host):
    if host == "[::1]" and not confine._is_own("::1"):
        pytest.skip("no IPv6 here")
    running = start(f"--host={host}")
    with wire.Client(running.address()) as client:
        assert settings.PARAMETERS in client.server_info()


def test_a_busy_port_is_told_before_anything_is_started(start, run_dir):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        running = start(f"--port={port}", f"--replay_python={sys.executable}")
        assert running.end() == exit_codes.REFUSED
    assert running.process.lines()[-1].startswith(f"error: port = {port}: expected a free one")
    assert not (run_dir / "logs" / "replay_server.log").exists()


@pytest.mark.parametrize("python", ["/nothing/bin/python", "/tmp", __file__])
def test_no_interpreter(python):
    with pytest.raises(ValueError, match=r"expected the interpreter .* `make replay-env` makes it"):
        replay.check_python(Path(python))


@pytest.mark.parametrize(
    ("exit_code", "lines", "expected"),
    [
        (0, [], 3),
        (-9, [], 137),
        (1, ["Traceback", "KeyError: 3"], 1),
        (1, ["error: no space left"], 1),
        (6, ["error: another server uses it"], exit_codes.HELD),
        (70, ["error: x"], 70),
    ],
)
def test_crash_of_the_server_is_no_refusal(exit_code, lines, expected):
    assert replay._after_end(exit_code, lines) == expected


@pytest.mark.parametrize(
    ("exit_code", "lines", "expected"),
    [
        (2, ["talk", "error: address = 'x': unknown"], "address = 'x': unknown"),
        (2, ["usage: x", "x: error: argument --port"], "argument --port"),
    ],
)
def test_refusal_of_the_server(exit_code, lines, expected):
    with pytest.raises(ValueError, match=f"the replay server does not start: .*{expected}"):
        replay._after_end(exit_code, lines)


_WITHOUT_THE_LAST_PORT = """#!/bin/sh
for argument; do
    case $argument in
        --port=0) is_any=1;;
        --port=*) echo "error: $argument: taken"; exit 1;;
        --ready_file=*) ready=${argument#--ready_file=};;
    esac
done
echo 7 > $ready
until grep -q :7 $(dirname $ready)/address; do sleep 0.02; done
exit 5
"""


def test_a_port_that_nobody_has_asked_for_is_given_up_if_the_server_does_not_start_there(
    run_dir, tmp_path
):
    with socket.socket() as other:
        other.bind(("", 0))
        port = other.getsockname()[1]
    python = tmp_path / "python"
    python.write_text(_WITHOUT_THE_LAST_PORT)
    python.chmod(0o755)
    role = dataclasses.replace(_role(run_dir), replay_python=python)
    role.address_file.parent.mkdir()
    role.address_file.write_text(f"localhost:{port}\n")
    assert replay.run(role) == 5
    assert role.address_file.read_text() == "localhost:7\n"
    # One that was asked for is not.
    assert replay.run(dataclasses.replace(role, port=port)) == 1


@pytest.mark.parametrize(
    ("text", "expected"), [(None, 0), ("", 0), ("a:7\n", 7), ("::1:80", 80), ("host:x", 0)]
)
def test_port_of_the_last_server(tmp_path, text, expected):
    if text is not None:
        (tmp_path / "address").write_text(text)
    assert replay._last_port(tmp_path / "address") == expected
