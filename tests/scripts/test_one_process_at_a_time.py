"""Only one process works in a run's directory; a second is told so and changes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.sweeps import sweep_jobs
from configs import probe
from core import locks
from replay.reverb.writing import actor_journal
from tests import waiting
from tests.scripts.calling import call, error_of
from training import run_directory
from training.system import exit_codes

_ROOT = Path(__file__).parents[2]
_TRAIN = (
    "train",
    "--config=configs/probe.py:1",
    "--config.num_frames=100_000_000",
    "--config.snapshot.period_frames=500",
)
_LAUNCH = ("launch", f"--replay_python={sys.executable}", *_TRAIN[1:])


def _start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", f"scripts.{arguments[0]}", *arguments[1:]],
        cwd=_ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def _has_snapshot(path: Path) -> bool:
    return bool(list(path.glob("snapshots/*[0-9]")))


def _contents(path: Path) -> dict[str, tuple[int, bytes]]:
    found = (entry for entry in path.rglob("*") if entry.is_file())
    return {str(entry): (entry.stat().st_mtime_ns, entry.read_bytes()) for entry in found}


@pytest.fixture
def at_work(tmp_path):
    """The directory of a training that works, but stands still meanwhile, and its process."""
    path = tmp_path / "sweep" / "probe" / "1" / "seed_1"
    process = _start(*_TRAIN, f"--run_dir={path}")
    try:
        waiting.wait_for(lambda: _has_snapshot(path) or process.poll() is not None)
        assert process.poll() is None
        waiting.suspend(process)
        yield path, process
    finally:
        process.kill()
        process.wait()


def test_a_second_process_is_refused_and_changes_nothing(at_work):
    path, _ = at_work
    before = _contents(path)
    for arguments in (_TRAIN, ("evaluate",), _LAUNCH):
        error = error_of(call(*arguments, f"--run_dir={path}"))
        assert f"run_dir = {str(path)!r}: another process is at work there" in error
        assert _contents(path) == before


def test_a_role_tells_its_supervisor_that_another_process_is_at_work(at_work):
    """Which may be about to end, on a machine that was lost."""
    path, _ = at_work
    before = _contents(path)
    result = call(*_LAUNCH, "--role=learner", f"--run_dir={path}")
    assert result.returncode == exit_codes.HELD
    last = result.stderr.splitlines()[-1]
    assert last == f"error: run_dir = {str(path)!r}: another process is at work there"
    assert _contents(path) == before


# ml_collections loads config files in a way that Python 3.12 will not have.
@pytest.mark.filterwarnings("ignore:the load_module")
def test_an_actor_tells_its_supervisor_that_another_process_has_its_journal(tmp_path, monkeypatch):
    monkeypatch.chdir(_ROOT)
    path = tmp_path / "run"
    run_directory.claim(path, sweep_jobs.load(sweep_jobs.Job("configs/probe.py", "1", 1)))
    actor = ("launch", "--config=configs/probe.py:1", "--config.seed=1", "--role=actor")
    with actor_journal.Journal(path / "actors" / "0") as journal:
        result = call(*actor, f"--run_dir={path}")
        assert result.returncode == exit_codes.HELD, result.stderr
        last = result.stderr.splitlines()[-1]
        assert last == f"error: {journal.directory}: another process uses this journal"


def test_the_lock_of_a_dead_process_is_free(at_work):
    path, process = at_work
    process.kill()
    result = call(*_TRAIN, "--config.num_frames=500", f"--run_dir={path}")
    assert result.returncode == 0, result.stderr


def test_what_is_written_elsewhere_needs_no_lock(at_work, tmp_path):
    path, _ = at_work
    result = call("evaluate", f"--run_dir={path}", f"--output={tmp_path / 'evaluation.csv'}")
    assert result.returncode == 0, result.stderr


def test_a_sweep_counts_the_run_as_failed_and_goes_on(at_work):
    path, _ = at_work
    root = path.parents[2]
    (root / "sweep.json").write_text('{"asked": {}, "jobs": {}}')
    before = _contents(path)
    grid = ("--configs=configs/probe.py", "--arguments=1,2", f"--root={root}")
    result = call("sweep", *grid, "--", "--config.num_frames=500")
    assert result.returncode == exit_codes.RUNS_FAILED, result.stderr
    assert "another process is at work there" in result.stderr
    states = {
        k: v["state"] for k, v in json.loads((root / "sweep.json").read_text())["jobs"].items()
    }
    assert states == {"probe/1/seed_1": "failed", "probe/2/seed_1": "finished"}
    assert _contents(path) == before


def test_a_directory_that_was_only_locked_is_free(tmp_path):
    with run_directory.locked(tmp_path):
        pass
    (tmp_path / "config.json.tmp").write_text("{")
    run_directory.check(tmp_path, probe.get_config())


def test_foreign_directories_are_left_as_they_are(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with (
        pytest.raises(ValueError, match="holds no run"),
        run_directory.claimed(tmp_path, probe.get_config()),
    ):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]


def test_a_supervisor_leaves_the_run_to_its_learner_and_to_nobody_else(tmp_path):
    config = probe.get_config()
    with run_directory.claimed(tmp_path, config, run_directory.Worker.SUPERVISOR):
        for worker in (run_directory.Worker.ALONE, run_directory.Worker.SUPERVISOR):
            with pytest.raises(ValueError, match="at work"):
                run_directory.check_idle(tmp_path, worker)
        with run_directory.claimed(tmp_path, config, run_directory.Worker.LEARNER):
            assert locks.is_held(tmp_path / "run.lock")
        assert not locks.is_held(tmp_path / "run.lock")
    run_directory.check_idle(tmp_path)
    # A learner that has outlived its supervisor.
    with (
        run_directory.claimed(tmp_path, config, run_directory.Worker.LEARNER),
        pytest.raises(ValueError, match="at work"),
    ):
        run_directory.check_idle(tmp_path, run_directory.Worker.SUPERVISOR)


@pytest.mark.parametrize("path", ["/dev/null/run", "/proc/run", "/dev/null"])
def test_directories_that_cannot_be_made(path):
    error = error_of(call(*_TRAIN, f"--run_dir={path}"))
    assert f"run_dir = {path!r}" in error
