"""Sweeps: what they consist of, how they work through it, and one of real trainings."""

import itertools
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cluster.supervision import processes
from cluster.sweeps import sweep, sweep_jobs, sweep_record
from cluster.sweeps.sweep_record import RunState
from core import checks
from tests import waiting
from training import run_directory
from training.system import exit_codes

_ROOT = Path(__file__).parents[2]
_PROBE = "configs/probe.py"

# ml_collections loads config files in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module")


def _states(root: Path) -> dict[str, str]:
    jobs = json.loads((root / "sweep.json").read_text())["jobs"]
    return {name: entry["state"] for name, entry in jobs.items()}


# What a sweep consists of.


def test_jobs_are_the_product_seed_by_seed():
    grid = sweep_jobs.Grid(["a/x.py", "a/y.py:small"], ["pong", "qbert"], [1, 2], ["--config.k=3"])
    assert [job.name for job in grid.jobs()] == [
        "x/pong/seed_1",
        "x/qbert/seed_1",
        "y/small/seed_1",
        "x/pong/seed_2",
        "x/qbert/seed_2",
        "y/small/seed_2",
    ]


def test_command_is_that_of_a_single_training():
    (job,) = sweep_jobs.Grid(["a/x.py"], ["pong"], [7], ["--config.k=3"]).jobs()
    assert job.command(Path("root"))[1:] == [
        "-m",
        "scripts.train",
        "--config=a/x.py:pong",
        "--config.seed=7",
        "--config.k=3",
        "--run_dir=root/x/pong/seed_7",
    ]
    (job,) = sweep_jobs.Grid(["a/x.py"], [], [7]).jobs()
    assert job.command(Path("root"))[3:] == [
        "--config=a/x.py",
        "--config.seed=7",
        "--run_dir=root/x/default/seed_7",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"configs": []}, "configs is empty"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [1, 2, 1]}, "would both be probe/1/seed_1"),
        ({"configs": [_PROBE, "other/probe.py"]}, "would both be probe/1/seed_1"),
        ({"arguments": ["../pong"]}, "arguments = '../pong'"),
        ({"arguments": [".."]}, "arguments = '..'"),
        ({"overrides": ["surplus"]}, "'surplus': expected --config.KEY=VALUE"),
        ({"overrides": ["--run_dir=x"]}, "'--run_dir=x': expected --config.KEY=VALUE"),
        ({"overrides": ["--config.seed=3"]}, "expected the seeds in --seeds"),
        ({"overrides": ["--config.num_envs=1", "--config.num_envs=2"]}, "num_envs: given 2 times"),
        ({"configs": ["configs/nothing.py"]}, "configs = 'configs/nothing.py': expected a file"),
        ({"arguments": ["6"]}, "environment.probe = 6: expected one of 1, 2"),
        (
            {"arguments": ["pong"]},
            "--config=configs/probe.py:pong: probe = 'pong': expected a number",
        ),
        ({"configs": ["configs/rainbow.py"], "arguments": ["ponng"]}, "game = 'ponng': unknown"),
        (
            {"configs": ["configs/continual_nap.py:big"], "arguments": []},
            "size = 'big': expected 'full' or",
        ),
        ({"configs": ["configs/probe.py:2"]}, "arguments = '1': expected none, as each of"),
        (
            {"overrides": ["--config.num_envs=2", "--config.replay.capacty=3"]},
            "capacty=3: unknown key 'capacty'. Did you mean \"capacity\"",
        ),
        (
            {"overrides": ["--config.network.hed.x=1"]},
            "hed.x=1: unknown key 'hed'. Did you mean \"head\"",
        ),
        ({"overrides": ["--config.replay.capacity=many"]}, "capacity=many"),
        ({"overrides": ["--config.num_envs=0"]}, "config.num_envs = 0: expected an integer"),
        ({"overrides": ["--config.optimizer.learning_rate=-1"]}, "learning_rate = -1.0: expected"),
        ({"seeds": [2**31]}, "seed = 2147483648: expected an integer"),
        ({"seeds": [4, 1], "overrides": ["--config.num_seeds=4"]}, "so seed 1 trains it already"),
        ({"overrides": ["--config.training.dataset=none.npz"]}, "'none.npz': expected a file"),
        ({"arguments": ["1", ""]}, "arguments = '1,': expected something between commas"),
        ({"configs": [_PROBE, ""]}, "expected something between commas"),
        (
            {"configs": ["configs/rainbow.py", "configs/rainbow.py:pong"], "arguments": []},
            "configs/rainbow.py:pong seed 1 is configs/rainbow.py seed 1 once more",
        ),
    ],
)
def test_bad_sweeps(tmp_path, changes, expected):
    grid = {"configs": [_PROBE], "arguments": ["1"], "seeds": [1], **changes}
    with pytest.raises(checks.ConfigError) as caught:
        sweep_jobs.verify(sweep_jobs.Grid(**grid).jobs(), tmp_path)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message


def test_good_sweeps(tmp_path):
    grid = sweep_jobs.Grid([_PROBE], ["1", "5"], [1, 5], ["--config.num_seeds=4"])
    sweep_jobs.verify(grid.jobs(), tmp_path)
    configs = ["configs/data_efficient_nap.py:pong", "configs/continual_nap.py:small"]
    overrides = ["--config.optimizer.learning_rate=1e-3", "--config.log.tensorboard=false"]
    jobs = sweep_jobs.Grid([*configs, "configs/cartpole.py"], [], [1], overrides).jobs()
    sweep_jobs.verify(jobs, tmp_path)
    assert all(sweep_jobs.load(job).optimizer.learning_rate == 1e-3 for job in jobs)


_MINE = """
from configs import probe


def get_config():
    config = probe.get_config("1")
    config.optimizer.learning_rate = {rate}
    return config
"""


def test_a_run_of_a_file_that_has_changed_since_is_not_taken_for_the_new_one(tmp_path):
    """Finished or not: the sweep would not make it again."""
    file = tmp_path / "mine.py"
    file.write_text(_MINE.format(rate=0.01))
    jobs = sweep_jobs.Grid([str(file)], [], [1]).jobs()
    run_directory.claim(tmp_path / jobs[0].name, sweep_jobs.load(jobs[0]))
    sweep_jobs.verify(jobs, tmp_path)
    file.write_text(_MINE.format(rate=0.02))
    message = r"mine/default/seed_1.*: optimizer.learning_rate is 0.01 there, asked for 0.02"
    with pytest.raises(checks.ConfigError, match=message):
        sweep_jobs.verify(jobs, tmp_path)


@pytest.mark.parametrize("seed", ["x", "-1", "", "1.5"])
def test_bad_seeds(seed):
    with pytest.raises(checks.ConfigError, match="seeds = "):
        sweep_jobs.parse_seeds(["1", seed])


# Processes.


@pytest.mark.parametrize(
    ("num_cores", "num_workers", "expected"),
    [
        (2, 1, [[0, 1]]),
        (4, 2, [[0, 1], [2, 3]]),
        (5, 3, [[0], [1, 2], [3, 4]]),
        (2, 3, [(), (), ()]),
    ],
)
def test_shares_of_cores(num_cores, num_workers, expected):
    assert processes.share_cores(list(range(num_cores)), num_workers) == expected


def test_process_has_its_cores_group_and_log(tmp_path):
    log = tmp_path / "logs" / "job.log"
    log.parent.mkdir()
    log.write_text("earlier\n")
    core = max(os.sched_getaffinity(0))
    script = "grep Cpus_allowed_list /proc/self/status; ps -o pgid= $$; echo $$ >&2"
    process = processes.Process(["/bin/sh", "-c", script], log, [core])
    assert process.wait() == 0
    allowed, group, pid = process.lines()
    assert allowed.split()[-1] == str(core)
    assert group == pid
    assert log.read_text().startswith("earlier\n")


def test_process_dies_with_its_parent(tmp_path):
    log = tmp_path / "log"
    parent = (
        "import os, pathlib, signal, sys, time\n"
        "from cluster.supervision import processes\n"
        "process = processes.Process(\n"
        "    ['/bin/sh', '-c', 'echo $$; exec sleep 300'], pathlib.Path(sys.argv[1]))\n"
        "while not process.lines(): time.sleep(0.02)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", parent, str(log)], cwd=_ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    pid = int(log.read_text())
    waiting.wait_for(lambda: not waiting.is_alive(pid))


# Working through the jobs, with shell scripts in the place of trainings.


def _begin(root: Path, scripts: list[str]) -> sweep.Sweep:
    """A sweep of shell scripts, as seeds 1, 2, ...; $RUN_DIR is each one's directory."""
    grid = sweep_jobs.Grid([_PROBE], [], list(range(1, len(scripts) + 1)))
    jobs = grid.jobs()
    record = sweep_record.SweepRecord(root)
    record.begin(grid, jobs)

    def command(job, root):
        run_dir = root / job.name
        script = f"RUN_DIR={run_dir}; mkdir -p $RUN_DIR; {scripts[job.seed - 1]}"
        return ["/bin/sh", "-c", script]

    return sweep.Sweep(root, jobs, record, exit_codes.STOPPED, command)


def _run(root: Path, scripts: list[str], num_workers: int = 2) -> list[RunState]:
    with sweep_record.claim(root):
        return _begin(root, scripts).run(num_workers, report_seconds=0.2)


@pytest.fixture
def messages(caplog):
    """What is said to the user."""
    caplog.set_level(logging.INFO, logger="absl")
    return lambda: caplog.messages


def test_failure_does_not_stop_the_others_and_only_it_is_started_again(tmp_path, messages):
    scripts = ["echo once", "echo first; echo the reason; exit 7", "kill -9 $$"]
    assert _run(tmp_path, scripts) == [RunState.FINISHED, RunState.FAILED, RunState.FAILED]
    assert any("exit code 7: the reason" in text for text in messages())
    assert any("exit code -9: nothing written" in text for text in messages())
    scripts[1] = "echo again"
    assert _run(tmp_path, scripts) == [RunState.FINISHED, RunState.FINISHED, RunState.FAILED]
    folder = tmp_path / "probe" / "default"
    assert (folder / "seed_1.log").read_text() == "once\n"
    assert (folder / "seed_2.log").read_text() == "first\nthe reason\nagain\n"
    jobs = json.loads((tmp_path / "sweep.json").read_text())["jobs"]
    assert [job["starts"] for job in jobs.values()] == [1, 2, 2]
    assert [job["exit_code"] for job in jobs.values()] == [0, 0, -9]


def test_finished_job_whose_files_are_gone_is_started_again(tmp_path):
    assert _run(tmp_path, ["true"]) == [RunState.FINISHED]
    (tmp_path / "probe/default/seed_1").rmdir()
    assert _run(tmp_path, ["false"]) == [RunState.FAILED]


def test_as_many_at_once_as_there_are_workers(tmp_path):
    events = tmp_path.with_name("events")
    both = f"until [ $(grep -c begin {events}) -ge 2 ]; do sleep 0.02; done"
    script = f"echo begin >> {events}; {both}; sleep 0.1; echo end >> {events}"
    assert _run(tmp_path, [script] * 5, num_workers=2) == [RunState.FINISHED] * 5
    running = most = 0
    for event in events.read_text().split():
        running += 1 if event == "begin" else -1
        most = max(most, running)
    assert most == 2


def test_progress_is_reported(tmp_path, messages):
    line = "I1121 10:44:49.161120 139895039363968 progress.py:59]   5.0 %%  frame 5 of 9  x"
    _run(tmp_path, [f"printf '{line}\\nother\\n'; sleep 3"])
    reports = [text for text in messages() if text.endswith("5.0 %  frame 5 of 9  x")]
    assert len(reports) >= 2
    assert reports[0].startswith("0/1  running   configs/probe.py seed 1  0:00:0")


def test_the_time_left_is_told_from_what_is_done(tmp_path, messages):
    """The first has half of its frames, the second waits: three times as long as it ran."""
    line = "I1121 10:44:49.161120 1398 progress.py:59]  50.0 %%  frame 5 of 10  x"
    _run(tmp_path, [f"printf '{line}\\n'; sleep 2", "true"], num_workers=1)
    told = [(a, b) for a, b in itertools.pairwise(messages()) if b.startswith("0/2  about ")]
    ran, left = (re.search(r"  (?:about )?0?0:(\d\d:)?(\d\d) ", text)[2] for text in told[-1])
    assert 3 * int(ran) <= int(left) <= 3 * int(ran) + 6


def _signal_when(path: Path, condition, count: int = 1) -> threading.Thread:
    """Sends this process SIGTERM as soon as a file's text is as wanted, and so `count` times."""

    def wait_and_kill():
        for number in range(count):
            waiting.wait_for(lambda n=number: path.exists() and condition(path.read_text(), n))
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=wait_and_kill, daemon=True)
    thread.start()
    return thread


def test_stop_lets_the_runs_end_in_their_own_way(tmp_path):
    # As a training: the first signal is heeded when there is time, a second one ends it.
    handler = "trap - TERM; sleep 0.6; echo saved; exit 3"
    script = f"trap '{handler}' TERM; echo ready; while :; do sleep 0.05; done"
    log = tmp_path / "probe/default/seed_1.log"
    thread = _signal_when(log, lambda text, _: "ready" in text)
    states = _run(tmp_path, [script, "true"], num_workers=1)
    thread.join()
    assert states == [RunState.STOPPED, RunState.WAITING]
    assert log.read_text() == "ready\nsaved\n"
    assert list(_states(tmp_path).values()) == states
    assert _run(tmp_path, ["true", "true"]) == [RunState.FINISHED] * 2


def test_second_signal_kills(tmp_path):
    script = "trap 'echo no' TERM; echo ready $$; while :; do sleep 0.05; done"
    log = tmp_path / "probe/default/seed_1.log"
    wanted = ("ready", "no")
    thread = _signal_when(log, lambda text, n: wanted[n] in text, count=2)
    assert _run(tmp_path, [script]) == [RunState.STOPPED]
    thread.join()
    assert not waiting.is_alive(int(log.read_text().split()[1]))


def test_error_leaves_no_process_behind(tmp_path, monkeypatch):
    script = "echo $$; exec sleep 300"
    log = tmp_path / "probe/default/seed_1.log"

    def fail(*_):
        waiting.wait_for(lambda: log.read_text())
        raise RuntimeError("broken")

    monkeypatch.setattr(sweep.Sweep, "_report", fail)
    with pytest.raises(RuntimeError, match="broken"):
        _run(tmp_path, [script])
    assert not waiting.is_alive(int(log.read_text()))


def test_a_full_disk_ends_no_run_and_its_record_is_made_up_for(tmp_path, monkeypatch, messages):
    replace = sweep_record.durable_files.replace_text
    failures = []

    def write(path, text):
        if '"running"' in text and len(failures) < 2:
            failures.append(text)
            raise OSError(28, "No space left on device")
        replace(path, text)

    monkeypatch.setattr(sweep_record.durable_files, "replace_text", write)
    root = tmp_path / "root"
    assert _run(root, ["true", "true"], num_workers=1) == [RunState.FINISHED] * 2
    assert len(failures) == 2
    assert any("No space left" in text for text in messages())
    jobs = json.loads((root / "sweep.json").read_text())["jobs"]
    assert [job["state"] for job in jobs.values()] == ["finished", "finished"]


def test_a_run_that_can_not_be_started_is_told_if_no_other_is_left(tmp_path):
    def start(command, log, cores):
        raise OSError(12, "Cannot allocate memory")

    grid = sweep_jobs.Grid([_PROBE], [], [1])
    record = sweep_record.SweepRecord(tmp_path)
    record.begin(grid, grid.jobs())
    work = sweep.Sweep(tmp_path, grid.jobs(), record, exit_codes.STOPPED, start=start)
    with pytest.raises(checks.ConfigError, match=r"can't be started: .*Cannot allocate memory"):
        work.run(1, report_seconds=60)


# The record.


def _begin_record(root: Path, *overrides: str, config=_PROBE, seeds=(1,)) -> list[RunState]:
    grid = sweep_jobs.Grid([config], ["1"], seeds, overrides)
    record = sweep_record.SweepRecord(root)
    record.begin(grid, grid.jobs())
    return record.states(grid.jobs())


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["--config.b=2"], "--config.a is 1 there, asked for nothing"),
        (["--config.a=1", "--config.b=3"], "--config.b is 2 there, asked for 3"),
        (
            ["--config.a=1", "--config.b=2", "--config.c=4"],
            "--config.c is not given there, asked for 4",
        ),
    ],
)
def test_job_of_another_command_is_refused(tmp_path, overrides, expected):
    _begin_record(tmp_path, "--config.a=1", "--config.b=2")
    _begin_record(tmp_path, "--config.b=2", "--config.a=1")
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(checks.ConfigError, match=expected) as caught:
        _begin_record(tmp_path, *overrides, seeds=(2, 1))
    assert "job probe/1/seed_1 was begun by another command" in str(caught.value)
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_config_of_the_same_name_elsewhere_is_refused(tmp_path):
    _begin_record(tmp_path)
    with pytest.raises(checks.ConfigError, match=r"--config is configs/probe.py there"):
        _begin_record(tmp_path, config="other/probe.py")


def test_more_seeds_may_be_asked_for_and_others_left_out(tmp_path):
    _begin_record(tmp_path, seeds=(1, 2))
    assert _begin_record(tmp_path, seeds=(2, 3)) == [RunState.WAITING] * 2
    assert list(_states(tmp_path)) == [f"probe/1/seed_{seed}" for seed in (1, 2, 3)]


def test_runs_of_a_killed_sweep_do_not_run(tmp_path):
    grid = sweep_jobs.Grid([_PROBE], ["1"], (1,))
    record = sweep_record.SweepRecord(tmp_path)
    record.begin(grid, grid.jobs())
    record.started(grid.jobs()[0])
    assert _begin_record(tmp_path, seeds=(2,)) == [RunState.WAITING]
    assert list(_states(tmp_path).values()) == [RunState.STOPPED, RunState.WAITING]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"jobs": {}}', '{"jobs": 3, "asked": {}}', '{"jobs": {"a": {}}, "asked": {}}'],
)
def test_damaged_record_is_refused(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(checks.ConfigError, match=r"sweep.json: damaged"):
        sweep_record.SweepRecord(tmp_path)


def test_root_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    for root, expected in (
        (tmp_path, "holds no sweep"),
        (tmp_path / "letter.txt", "not a directory"),
    ):
        with pytest.raises(checks.ConfigError, match=expected), sweep_record.claim(root):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_two_sweeps_at_once_are_refused(tmp_path):
    root = tmp_path / "new" / "root"
    first, second = sweep_record.claim(root), sweep_record.claim(root)
    with first, pytest.raises(checks.ConfigError, match="a sweep is at work there"), second:
        pass
    with sweep_record.claim(root):
        (root / "sweep.json.tmp").write_text("{")
    with sweep_record.claim(root):
        pass


# The script, with real trainings.


def _command(root: Path, *overrides: str, **flags: str) -> list[str]:
    flags = {"configs": _PROBE, "games": "1", "seeds": "1,2", "root": str(root), **flags}
    given = [f"--{key}={value}" for key, value in flags.items()]
    return [sys.executable, "-m", "scripts.sweep", *given, "--", *overrides]


def _call(root: Path, *overrides: str, **flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        _command(root, *overrides, **flags),
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_stopped_trainings_continue_and_one_whose_directory_is_in_use_fails(tmp_path):
    # Nothing is learned before the end: compiling the update would take most of the time.
    keys = ("replay.capacity", "replay.min_size", "replay.importance_exponent_end_steps")
    # Many frames, so that it is stopped before their end.
    overrides = ["--config.num_frames=30_000", *(f"--config.{key}=200_000" for key in keys)]
    used = tmp_path / "probe/1/seed_2"
    log = tmp_path / "probe/1/seed_1.log"
    with subprocess.Popen(_command(tmp_path, *overrides), cwd=_ROOT) as process:
        waiting.wait_for(lambda: log.exists() and "of 30000" in log.read_text())
        process.terminate()
    assert process.returncode == exit_codes.STOPPED
    states = {"probe/1/seed_1": RunState.STOPPED, "probe/1/seed_2": RunState.WAITING}
    assert _states(tmp_path) == states

    with run_directory.locked(used):
        result = _call(tmp_path, *overrides)
    assert result.returncode == exit_codes.RUNS_FAILED, result.stderr
    assert "continuing from" in log.read_text()
    assert "exit code 2: error: run_dir" in result.stderr
    assert "another process is at work there" in result.stderr
    states = {"probe/1/seed_1": RunState.FINISHED, "probe/1/seed_2": RunState.FAILED}
    assert _states(tmp_path) == states


def test_bad_sweep_ends_in_one_line_and_makes_nothing(tmp_path):
    root = tmp_path / "root"
    result = _call(root, "--config.num_envs=0")
    assert result.returncode == exit_codes.REFUSED
    assert "error: configs/probe.py:1 seed 1: config.num_envs = 0: expected" in result.stderr
    assert "Traceback" not in result.stderr
    assert not root.exists()
