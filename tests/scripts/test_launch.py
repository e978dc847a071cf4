"""scripts.launch as a user calls it, and the job scripts of scripts/slurm with a stub of Slurm."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs import probe
from replay.reverb.writing import actor_journal
from tests.scripts.calling import call, error_of
from training import run_directory

_ROOT = Path(__file__).parents[2]
_SLURM = _ROOT / "scripts" / "slurm"
_PROBE = "--config=configs/probe.py:1"
# Any interpreter does until a server is started.
_PYTHON = f"--replay_python={sys.executable}"
_TIMEOUT_SECONDS = 900


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--config is missing"),
        (("--config=configs/rainbow.py:ponng",), "environment.game = 'ponng'"),
        ((_PROBE, "--config.replay.capacty=3"), "capacty=3: unknown key 'capacty'"),
        ((_PROBE, "--config.num_envs=0"), "num_envs = 0: expected"),
        ((_PROBE, "--config.num_seeds=2"), "num_seeds = 2: expected 1"),
        ((_PROBE, "--config.distributed.chunk_length=0"), "distributed.chunk_length = 0: expected"),
        ((_PROBE, "--actors=0"), "actors"),
        ((_PROBE, "--port=70000"), "port"),
        ((_PROBE, "--host="), "host = '': expected a name or number of this machine"),
        ((_PROBE, "--host=localhost:8000"), "host = 'localhost:8000'"),
        ((_PROBE, "--host=192.0.2.1"), "host = '192.0.2.1': expected a name or number of this"),
        ((_PROBE, "--role=cook"), "cook"),
        ((_PROBE, "--role=actor", "--index=2"), "index = 2: expected 0 to 1 with role = 'actor'"),
        ((_PROBE, "--replay_python=/nothing"), "`make replay-env` makes it"),
        (
            (_PROBE, "--start_with=/etc/passwd"),
            "start_with = '/etc/passwd': expected an executable",
        ),
        ((_PROBE, "surplus"), "'surplus'"),
    ],
)
def test_bad_arguments(tmp_path, arguments, expected):
    path = tmp_path / "run"
    assert expected in error_of(call("launch", _PYTHON, *arguments, f"--run_dir={path}"))
    assert not path.exists()


def test_a_busy_port_is_told_at_once(tmp_path):
    path = tmp_path / "run"
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        error = error_of(call("launch", _PYTHON, _PROBE, f"--port={port}", f"--run_dir={path}"))
    assert f"port = {port}: expected a free one" in error
    assert not path.exists()


@pytest.mark.parametrize("role", [(), ("--role=replay",), ("--role=learner",), ("--role=actor",)])
def test_directory_of_another_run_is_refused_and_left_alone(tmp_path, role):
    (tmp_path / "config.json").write_text('{"name": "other"}')
    result = call("launch", _PYTHON, _PROBE, f"--run_dir={tmp_path}", *role)
    assert "belongs to another configuration" in error_of(result)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_damaged_journal_is_told_in_one_line(tmp_path):
    """Not as a crash, after which the role would be started again."""
    path = tmp_path / "run"
    run_directory.claim(path, probe.get_config("1"))
    with actor_journal.Journal(path / "actors" / "0") as opened:
        for _ in range(2):
            opened.append(b"content")
    (segment,) = opened.directory.glob("*.segment")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    error = error_of(call("launch", _PYTHON, _PROBE, f"--run_dir={path}", "--role=actor"))
    assert str(segment) in error
    assert "offset" in error


def test_directory_with_other_files_is_refused_by_every_role(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    result = call("launch", _PYTHON, _PROBE, f"--run_dir={tmp_path}", "--role=actor")
    assert "holds no run" in error_of(result)


# A role's processes, started by a program of the user.

_STUB = """#!/bin/bash
# Takes down its call; the learner then ends with $LEARNER_CODE, the evaluator after it, others when
# they are told to.
trap 'exit 3' TERM
printf '%q ' "$@" >> "$CALLS/$$"
mv "$CALLS/$$" "$CALLS/$$.call"
if [[ "$*" = *--role=learner* ]]; then
  until [ "$(ls "$CALLS" | grep -c call)" -ge "$NUM_CALLS" ]; do sleep 0.05; done
  [ -n "$LEARNER_CODE" ] && { touch "$CALLS/end"; exit "$LEARNER_CODE"; }
fi
while :; do
  [[ "$*" = *--role=evaluator* && -e "$CALLS/end" ]] && exit 0
  sleep 0.05
done
"""


class _Stub:
    """Programs that stand in for those that start processes elsewhere, and what they were given."""

    def __init__(self, path: Path, num_calls: int):
        self.path = path
        self.calls_dir = path / "calls"
        self.calls_dir.mkdir()
        self.num_calls = num_calls
        self.program("stub", _STUB)

    def program(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def variables(self, learner_code: str) -> dict[str, str]:
        return {
            "CALLS": str(self.calls_dir),
            "NUM_CALLS": str(self.num_calls),
            "LEARNER_CODE": learner_code,
            "PATH": f"{self.path}:{os.environ['PATH']}",
        }

    def calls(self) -> dict[str, list[str]]:
        """Each role's call, by label."""
        texts = [path.read_text() for path in self.calls_dir.glob("*.call")]
        found = {}
        for words in map(shlex.split, texts):
            flags = dict(word.partition("=")[::2] for word in words if word.startswith("--"))
            name, index = flags["--role"], flags["--index"]
            found[f"{name}_{index}" if name == "actor" else name] = words
        return found


def _check_role_command(command: list[str]) -> None:
    """Its flags are understood as those of the role: one more, of no actor, is refused."""
    assert command[:3] == [sys.executable, "-m", "scripts.launch"]
    assert "index = 9: expected 0 to" in error_of(call("launch", *command[3:], "--index=9"))


_LABELS = ["actor_0", "actor_1", "actor_2", "evaluator", "learner", "replay"]


def test_roles_are_given_the_flags_as_they_are(tmp_path):
    stub = _Stub(tmp_path, 6)
    run_dir = tmp_path / "run"
    given = [
        "--config=configs/probe.py:2",
        "--config.evaluation.period_frames=10_000",
        "--actors=3",
        _PYTHON,
        f"--start_with={tmp_path / 'stub'}",
        f"--run_dir={run_dir}",
        "--report_seconds=0.3",
    ]
    result = call("launch", *given, **stub.variables(learner_code="0"))
    assert result.returncode == 0, result.stderr
    calls = stub.calls()
    assert sorted(calls) == _LABELS
    for label, (given_label, *command) in calls.items():
        name, _, index = label.partition("_")
        own = [f"--role={name}", f"--index={index or 0}", f"--run_dir={run_dir}", "--cluster=local"]
        assert given_label == label
        assert command[3:] == [*given, *own]
    _check_role_command(calls["actor_2"][1:])
    assert (run_dir / "config.json").exists()
    assert "finished" in result.stderr


def test_default_directory_and_no_evaluator(tmp_path):
    stub = _Stub(tmp_path, 3)
    program = [sys.executable, "-m", "scripts.launch", _PROBE, "--actors=1", _PYTHON]
    flags = ["--config.evaluation.period_frames=0", f"--start_with={tmp_path / 'stub'}"]
    variables = {**os.environ, **stub.variables(""), "PYTHONPATH": str(_ROOT)}
    (tmp_path / "configs").symlink_to(_ROOT / "configs")
    with subprocess.Popen([*program, *flags], cwd=tmp_path, env=variables) as process:
        _wait_for(lambda: len(stub.calls()) == 3)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 3
    assert sorted(stub.calls()) == ["actor_0", "learner", "replay"]
    assert (tmp_path / "runs/probe/1/seed_1_distributed/config.json").exists()


def _wait_for(condition) -> None:
    end = time.monotonic() + _TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


# Job scripts.

_SRUN = """#!/bin/bash
# As the real one, kills its task at SIGTERM, and passes SIGUSR1 on to all processes of the step.
options=()
while [ "$1" != bash ]; do options+=("$1"); shift; done
set -m
bash -c "$3" "$4" "${0%srun}stub" "${options[@]}" "${@:5}" &
task=$!
trap 'kill -KILL -- "-$task"; exit 137' TERM
trap 'kill -USR1 -- "-$task"' USR1
while :; do
  wait "$task"; code=$?
  kill -0 "$task" 2>/dev/null || exit "$code"
done
"""


@pytest.fixture
def slurm(tmp_path):
    """A machine where srun has the stub in the place of the role's command."""
    stub = _Stub(tmp_path, 6)
    stub.program("srun", _SRUN)
    stub.program("scontrol", '#!/bin/sh\necho "$@" > "$CALLS/scontrol"\n')
    return stub


@pytest.mark.parametrize("script", sorted(_SLURM.iterdir()), ids=lambda path: path.name)
def test_syntax_of_job_scripts(script):
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def _submit(slurm: _Stub, script: str, learner_code: str, *flags: str) -> subprocess.Popen:
    variables = {
        **os.environ,
        **slurm.variables(learner_code),
        "PYTHON": sys.executable,
        "SLURM_SUBMIT_DIR": str(_ROOT),
        "SLURM_JOB_ID": "17",
        "SLURM_NTASKS_HET_GROUP_1": "3",
    }
    overrides = ["--config.evaluation.period_frames=10_000", f"--run_dir={slurm.path / 'run'}"]
    # As Slurm does, from a copy elsewhere.
    copy = slurm.program("slurm_script", (_SLURM / script).read_text())
    command = ["bash", copy, "--config=configs/probe.py:2", _PYTHON, *overrides, *flags]
    return subprocess.Popen(
        command, cwd=slurm.path, env=variables, stderr=subprocess.PIPE, text=True
    )


def test_job_on_several_nodes(slurm):
    job = _submit(slurm, "actor_nodes.sbatch", "0")
    _, output = job.communicate(timeout=_TIMEOUT_SECONDS)
    assert job.returncode == 0, output
    calls = slurm.calls()
    assert sorted(calls) == _LABELS
    parts = {}
    for label, call_ in calls.items():
        begin = call_.index(sys.executable)
        options, command = call_[:begin], call_[begin:]
        assert {f"--job-name={label}", "--exact", "--nodes=1", "--ntasks=1"} <= set(options)
        parts[label] = next(option for option in options if "het-group" in option)[-1]
        assert ("--gres=gpu:1" in options) == (label == "learner")
        (host,) = (word for word in command if word.startswith("--host="))
        assert host != "--host=localhost"
        assert "--actors=3" in command
    assert {label for label, part in parts.items() if part == "1"} == set(_LABELS[:3])
    _check_role_command(calls["learner"][calls["learner"].index(sys.executable) :])
    assert not (slurm.calls_dir / "scontrol").exists()


def test_job_that_is_stopped_queues_again(slurm):
    """The batch shell alone gets the signal."""
    job = _submit(slurm, "actor_nodes.sbatch", "")
    _wait_for(lambda: len(slurm.calls()) == 6)
    job.send_signal(signal.SIGTERM)
    _, output = job.communicate(timeout=_TIMEOUT_SECONDS)
    assert job.returncode == 3, output
    assert (slurm.calls_dir / "scontrol").read_text() == "requeue 17\n"
    ends = [line for line in output.splitlines() if ": exit code 3" in line]
    assert "learner" in ends[0]
    assert "replay" in ends[-1]


def test_job_on_one_node(slurm):
    job = _submit(
        slurm, "one_node.sbatch", "0", f"--start_with={slurm.path / 'stub'}", "--actors=3"
    )
    _, output = job.communicate(timeout=_TIMEOUT_SECONDS)
    assert job.returncode == 0, output
    assert sorted(slurm.calls()) == _LABELS
    _check_role_command(slurm.calls()["replay"][1:])


def test_bad_input_ends_a_job_for_good(slurm):
    job = _submit(slurm, "one_node.sbatch", "0", "--config.num_envs=0")
    _, output = job.communicate(timeout=_TIMEOUT_SECONDS)
    assert job.returncode == 2
    assert "num_envs = 0: expected" in output
    assert not (slurm.calls_dir / "scontrol").exists()
