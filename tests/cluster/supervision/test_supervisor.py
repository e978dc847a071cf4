"""The supervisor, with shell scripts in the place of roles."""

import csv
import dataclasses
import itertools
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest

from cluster import context
from cluster.supervision import (
    processes,
    role_processes,
    status_line,
    supervised_process,
    supervisor,
)
from core import checks
from tests import waiting
from training.system import exit_codes

_ROOT = Path(__file__).parents[3]
_QUICK = supervised_process.Timing(
    poll=0.02,
    first_delay=0.1,
    max_delay=0.4,
    healthy=30.0,
    max_vain_deaths=3,
    silent=0.6,
    learner=20.0,
    evaluator=20.0,
    grace=20.0,
)
# A role that works until it is told to end, and then takes some time.
_WORK = "while :; do sleep 0.02; done"
_ENDS = f"trap 'sleep 0.2; echo $LABEL >> $EVENTS; exit 3' TERM; echo $$ > $LABEL.pid; {_WORK}"
_IGNORES = f"trap '' TERM; echo $$ > $LABEL.pid; {_WORK}"
_ALL = (("replay", 0), ("learner", 0), ("actor", 0), ("actor", 1), ("evaluator", 0))


class _Fake:
    """A run whose roles are shell scripts, by label; those not given end when told to."""

    def __init__(self, run_dir: Path, roles=_ALL, timing=_QUICK, report_seconds=100.0, **scripts):
        self.run_dir = run_dir
        self.scripts = scripts
        self.supervisor = supervisor.Supervisor(
            roles, self._command, run_dir, report_seconds, timing=timing
        )

    def _command(self, name, index):
        label = context.label(name, index)
        variables = f"cd {self.run_dir}; LABEL={label}; EVENTS=events; mkdir -p status; "
        return ["/bin/sh", "-c", variables + self.scripts.get(label, _ENDS)]

    def run(self) -> int:
        return self.supervisor.run()

    def pid(self, label: str) -> int:
        path = self.run_dir / f"{label}.pid"
        waiting.wait_for(lambda: path.exists() and path.read_text().strip())
        return int(path.read_text())

    def pids(self) -> list[int]:
        return [self.pid(context.label(*role)) for role in _ALL]

    def events(self) -> list[str]:
        return (self.run_dir / "events").read_text().split()

    def deaths(self) -> list[dict[str, str]]:
        with (self.run_dir / "restarts.csv").open(newline="") as stream:
            return list(csv.DictReader(stream))


@pytest.fixture
def messages(caplog):
    """What is said to the user."""
    caplog.set_level(logging.INFO, logger="absl")
    return lambda: caplog.messages


def _in_background(function) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


# The end of a run.


_ALL_UP = "while [ $(ls *.pid | wc -l) -lt 4 ]; do sleep 0.02; done; echo learner >> $EVENTS; "
# An evaluator that ends by itself, some time after the learner; it obeys a signal at once.
_EVALUATES = (
    "trap 'echo no >> $EVENTS; exit 3' TERM; echo $$ > $LABEL.pid; "
    "until grep -q learner $EVENTS; do sleep 0.02; done; "
)


def test_others_end_after_the_learner_in_their_order(tmp_path):
    """The evaluator has more time than the others, and is not asked to end."""
    evaluator = f"{_EVALUATES} sleep 2; echo evaluator >> $EVENTS"
    fake = _Fake(tmp_path, learner=_ALL_UP, evaluator=evaluator)
    assert fake.run() == 0
    assert fake.events()[0] == "learner"
    assert sorted(fake.events()[1:3]) == ["actor_0", "actor_1"]
    assert fake.events()[3:] == ["evaluator", "replay"]
    assert not (tmp_path / "restarts.csv").exists()
    logs = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert logs == ["actor_0.log", "actor_1.log", "evaluator.log", "learner.log", "replay.log"]


def test_evaluator_that_dies_in_its_last_evaluation_begins_it_again(tmp_path):
    evaluator = f"{_EVALUATES} echo evaluator >> $EVENTS; [ -e twice ] || {{ > twice; exit 1; }}"
    fake = _Fake(tmp_path, learner=_ALL_UP, evaluator=evaluator)
    assert fake.run() == 0
    assert fake.events().count("evaluator") == 2
    assert fake.events()[-1] == "replay"
    assert [row["role"] for row in fake.deaths()] == ["evaluator"]


def test_evaluator_that_ends_before_the_learner_is_not_waited_for(tmp_path, messages):
    learner = f"{_ALL_UP} sleep 0.5"
    timing = supervised_process.Timing(poll=0.02, grace=20.0)
    assert _Fake(tmp_path, timing=timing, learner=learner, evaluator=_EVALUATES).run() == 0
    assert not any("last evaluation" in text for text in messages())
    assert not (tmp_path / "restarts.csv").exists()


@pytest.mark.parametrize("is_told", [True, False])
def test_last_evaluation_that_takes_too_long(tmp_path, messages, is_told):
    """One signal after the learner's end, or a time without a step, ends the wait for it."""
    timing = dataclasses.replace(_QUICK, evaluator=60.0 if is_told else 0.5)
    evaluator = f"{_EVALUATES} {_WORK}"
    fake = _Fake(tmp_path, timing=timing, learner=_ALL_UP, evaluator=evaluator)

    def stop():
        waiting.wait_for(lambda: (tmp_path / "events").exists() and len(fake.events()) == 3)
        os.kill(os.getpid(), signal.SIGINT)

    if is_told:
        _in_background(stop)
    assert fake.run() == (exit_codes.STOPPED if is_told else exit_codes.FAILED)
    assert fake.events()[3:] == ["no", "replay"]
    assert any("the last evaluation is missing" in text for text in messages())


@pytest.mark.parametrize("is_at_work", [True, False])
def test_last_evaluation_may_take_as_long_as_it_does_steps(tmp_path, monkeypatch, is_at_work):
    """By a clock that goes on half of what a step may take at each look at its status."""
    looks = []

    class Waited:
        label, is_hopeless = "evaluator", False

        @property
        def is_finished(self):
            return len(looks) == 9

    def read_status(run_dir, label):
        looks.append(label)
        return {"time": len(looks), "steps": len(looks) if is_at_work else 7}

    report: Any = None
    found = role_processes.RoleProcesses(tmp_path, [], report, poll_s=0)
    monkeypatch.setattr(found, "_keep_alive", lambda processes: None)
    monkeypatch.setattr(role_processes.context, "read_status", read_status)
    monkeypatch.setattr(role_processes.time, "monotonic", lambda: 5.0 * len(looks))
    waited: Any = [Waited()]
    stop: Any = types.SimpleNamespace(requested=False)
    assert found.wait_for(waited, 10.0, stop, []) == is_at_work
    assert len(looks) == (9 if is_at_work else 4)


@pytest.mark.parametrize("dying", ["evaluator", "replay"])
def test_last_evaluation_is_given_up_if_somebody_dies_again_and_again(tmp_path, messages, dying):
    scripts = {"evaluator": f"{_EVALUATES} {_WORK}", dying: f"{_EVALUATES} exit 1"}
    fake = _Fake(tmp_path, learner=_ALL_UP, **scripts)
    assert fake.run() == exit_codes.FAILED
    assert len(fake.deaths()) >= _QUICK.max_vain_deaths
    assert any("the last evaluation is missing" in text for text in messages())


def test_signal_ends_the_learner_first(tmp_path):
    fake = _Fake(tmp_path)

    def stop():
        fake.pids()
        os.kill(os.getpid(), signal.SIGTERM)

    thread = _in_background(stop)
    assert fake.run() == exit_codes.STOPPED
    thread.join()
    events = fake.events()
    assert (events[0], events[-1], len(events)) == ("learner", "replay", 5)
    assert not any(map(waiting.is_alive, fake.pids()))


def test_replay_is_kept_alive_while_the_learner_saves(tmp_path):
    """It comes up again, and only then the learner can end."""
    saving = "rm replay.pid; kill -9 $PID; until [ -s replay.pid ]; do sleep 0.02; done; exit 3"
    learner = (
        f"until [ -s replay.pid ]; do sleep 0.02; done; PID=$(cat replay.pid); "
        f"trap '{saving}' TERM; echo $$ > learner.pid; {_WORK}"
    )
    fake = _Fake(tmp_path, learner=learner)

    def stop():
        fake.pids()
        os.kill(os.getpid(), signal.SIGINT)

    _in_background(stop)
    assert fake.run() == exit_codes.STOPPED
    assert [row["role"] for row in fake.deaths()] == ["replay"]
    assert fake.events()[-1] == "replay"


def test_process_that_ignores_the_signal_is_killed(tmp_path, messages):
    learner = "until [ -s actor_0.pid ]; do sleep 0.02; done; sleep 0.2"
    timing = dataclasses.replace(_QUICK, grace=1.0)
    fake = _Fake(tmp_path, _ALL[:-1], timing=timing, learner=learner, actor_0=_IGNORES)
    assert fake.run() == 0
    assert not waiting.is_alive(fake.pid("actor_0"))
    assert any("actor_0: killed" in text for text in messages())


def test_second_signal_kills(tmp_path):
    fake = _Fake(tmp_path, learner=f"trap 'echo x > asked' TERM; echo $$ > learner.pid; {_WORK}")

    def stop():
        fake.pids()
        os.kill(os.getpid(), signal.SIGTERM)
        waiting.wait_for((tmp_path / "asked").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    _in_background(stop)
    begin = time.monotonic()
    assert fake.run() == exit_codes.STOPPED
    assert time.monotonic() - begin < _QUICK.grace
    assert not any(map(waiting.is_alive, fake.pids()))


# What dies is started again.


def test_role_is_started_again_after_longer_and_longer(tmp_path, messages):
    actor = (
        "date +%s.%N >> starts; echo because; "
        f"[ $(wc -l < starts) = 2 ] && kill -9 $$; [ $(wc -l < starts) = 4 ] || exit 7; {_ENDS}"
    )
    learner = "until [ -s actor_0.pid ]; do sleep 0.02; done"
    timing = supervised_process.Timing(poll=0.02, first_delay=0.3, max_vain_deaths=4, grace=20.0)
    roles = _ALL[:-1]
    fake = _Fake(tmp_path, roles, timing=timing, learner=learner, actor_0=actor)
    assert fake.run() == 0
    starts = [float(line) for line in (tmp_path / "starts").read_text().split()]
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    # How much more is up to how fast the machine is.
    for pause, least in zip(pauses, (0.3, 0.6, 1.2), strict=True):
        assert pause > least
    deaths = fake.deaths()
    assert [(row["role"], row["exit_code"]) for row in deaths] == [
        ("actor_0", "7"),
        ("actor_0", "-9"),
        ("actor_0", "7"),
    ]
    said = "\n".join(messages())
    assert re.search(r"actor_0: exit code 7 after \d+ s: because; again in", said)
    assert re.search(r"actor_0: SIGKILL after \d+ s: because; again in", said)


class _Scripted:
    """A process that has ended before anybody looked, with an exit code and an age."""

    def __init__(self, exit_code, seconds):
        self.exit_code, self.seconds = exit_code, seconds

    def poll(self):
        return self.exit_code

    wait = poll

    def send(self, number):
        raise AssertionError(number)

    def lines(self):
        return []


def _waits(monkeypatch, ends) -> list[float]:
    """How long each new process is waited for, after processes that end so."""
    now = [0.0]
    monkeypatch.setattr(supervised_process.time, "monotonic", lambda: now[0])
    remaining = iter(ends)
    member = supervised_process.SupervisedProcess(
        "actor", 0, lambda: _Scripted(*next(remaining)), supervised_process.Timing()
    )
    waits = []
    for _ in ends:
        assert member.start_if_due()
        member.collect()
        waits.append(member.wait)
        assert not member.start_if_due()
        now[0] += member.wait
    return waits


def test_waits_of_a_role_that_keeps_dying(monkeypatch):
    assert _waits(monkeypatch, [(1, 30)] * 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_waits_begin_anew_after_a_minute_of_health(monkeypatch):
    assert _waits(monkeypatch, [(1, 5), (1, 59), (1, 61), (1, 5)]) == [1, 2, 1, 2]


def test_wait_of_a_role_that_ends_by_itself(monkeypatch):
    """It may have seen that all is done before the learner has ended."""
    assert _waits(monkeypatch, [(1, 5), (0, 5), (1, 5)]) == [1, 10, 2]


def _vain_deaths(monkeypatch, ends, progress=lambda: 0.0) -> list[int]:
    """How many deaths are counted after each of the processes that end so."""
    now = [0.0]
    monkeypatch.setattr(supervised_process.time, "monotonic", lambda: now[0])
    remaining = iter(ends)
    member = supervised_process.SupervisedProcess(
        "actor", 0, lambda: _Scripted(*next(remaining)), supervised_process.Timing(), progress
    )
    counts = []
    for _ in ends:
        assert member.start_if_due()
        member.collect()
        counts.append(member.vain_deaths)
        now[0] += member.wait
    return counts


def test_deaths_are_counted_until_a_process_comes_further_than_all_before_it(monkeypatch):
    """However old they get: one may die of the same thing after minutes, again and again."""
    ends = [(1, 300)] * 8
    assert _vain_deaths(monkeypatch, ends) == [1, 2, 3, 4, 5, 6, 7, 8]
    frames = iter([10.0, 10.0, 9.0, 11.0, 0.0, 11.0, 11.5, 3.0])
    assert _vain_deaths(monkeypatch, ends, lambda: next(frames)) == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_process_that_lived_for_an_hour_has_not_died_in_vain(monkeypatch):
    assert _vain_deaths(monkeypatch, [(1, 5), (1, 3600), (1, 5)]) == [1, 0, 1]


def test_a_process_whose_work_another_one_still_does_is_started_until_that_has_ended(monkeypatch):
    ends = [(exit_codes.HELD, 30)] * 7 + [(1, 30)]
    assert _vain_deaths(monkeypatch, ends) == [0] * 7 + [1]
    assert _waits(monkeypatch, ends) == [1, 2, 4, 8, 16, 32, 60, 60]


def test_how_far_a_role_has_come_is_in_its_status_and_for_the_server_in_the_learners(tmp_path):
    def tell(label, **numbers):
        path = context.status_path(tmp_path, label)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"time": 1e9, **numbers}))

    asked = [("replay", 0), ("learner", 0), ("evaluator", 0), ("actor", 1)]
    progress = [supervisor._progress(tmp_path, *role) for role in asked]
    assert [read() for read in progress] == [0, 0, 0, 0]
    tell("learner", frames=40, updates=3, frames_per_second=7)
    tell("replay", address="localhost:7", seconds=3.5)
    tell("evaluator", frames=20)
    tell("actor_0", frames=1)
    tell("actor_1", frames=30)
    assert [read() for read in progress] == [43, 43, 20, 30]


def test_a_process_that_can_not_be_started_is_started_later(tmp_path, messages):
    """For lack of memory, say; the others go on."""
    failures = [OSError(12, "Cannot allocate memory")] * 2

    def start(name, index, command, log):
        if name == "actor" and failures:
            raise failures.pop()
        return supervisor.start_here(name, index, command, log)

    fake = _Fake(tmp_path, _ALL[:3], learner="until [ -s actor_0.pid ]; do sleep 0.02; done")
    fake.supervisor = supervisor.Supervisor(_ALL[:3], fake._command, tmp_path, 100.0, start, _QUICK)
    assert fake.run() == 0
    assert [(row["role"], row["exit_code"]) for row in fake.deaths()] == [("actor_0", "71")] * 2
    assert any("actor_0: exit code 71 after 0 s: not started: " in text for text in messages())
    assert sum("actor_0: started" in text for text in messages()) == 1


def test_a_status_that_can_not_be_deleted_ends_no_run(tmp_path):
    actor = f"mkdir status/actor_0.json && exit 7; {_ENDS}"
    learner = "until [ -s actor_0.pid ]; do sleep 0.02; done"
    fake = _Fake(tmp_path, _ALL[:3], learner=learner, actor_0=actor)
    assert fake.run() == 0
    assert [row["exit_code"] for row in fake.deaths()] == ["7"]


def test_run_ends_when_a_role_keeps_dying(tmp_path, messages):
    fake = _Fake(tmp_path, replay="echo first; echo the reason; exit 5")
    assert fake.run() == exit_codes.FAILED
    assert any(
        "replay: exit code 5; it has died 3 times in a row" in text
        and text.endswith("\n  first\n  the reason")
        for text in messages()
    )
    assert len(fake.deaths()) == 2
    assert not any(waiting.is_alive(int(path.read_text())) for path in tmp_path.glob("*.pid"))


def test_refused_input_ends_the_run_at_once(tmp_path):
    actor = "until [ -s learner.pid ]; do sleep 0.02; done; echo error: x = 3: expected 2; exit 2"
    fake = _Fake(tmp_path, actor_1=actor)
    with pytest.raises(checks.ConfigError, match=r"^actor_1: x = 3: expected 2$"):
        fake.run()
    assert "learner" in fake.events()
    assert not any(waiting.is_alive(int(path.read_text())) for path in tmp_path.glob("*.pid"))
    assert not (tmp_path / "restarts.csv").exists()


# No process is left behind.


def test_error_in_the_supervisor_leaves_no_process(tmp_path, monkeypatch):
    fake = _Fake(tmp_path, report_seconds=0.1)

    def fail(*_):
        fake.pids()
        raise RuntimeError("broken")

    monkeypatch.setattr(status_line, "compose", fail)
    with pytest.raises(RuntimeError, match="broken"):
        fake.run()
    assert not any(map(waiting.is_alive, fake.pids()))


_KILLED = """
import os, pathlib, signal, sys
from cluster.supervision import processes, supervisor
run_dir = pathlib.Path(sys.argv[1])
child = "import pathlib, sys, time; from cluster.supervision import processes as p; p.Process(" \\
    "['/bin/sh', '-c', 'echo $$ > ' + sys.argv[1] + '.child; sleep 300'], " \\
    "pathlib.Path(sys.argv[1] + '.log')); time.sleep(300)"
def command(name, index):
    return [sys.executable, "-c", child, str(run_dir / name)]
roles = [("replay", 0), ("learner", 0), ("actor", 0)]
supervisor.Supervisor(roles, command, run_dir, 100.0).run()
"""


def test_supervisor_that_is_killed_takes_its_processes_and_theirs_along(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)], cwd=_ROOT)
    files = [tmp_path / f"{name}.child" for name in ("replay", "learner", "actor")]
    waiting.wait_for(lambda: all(file.exists() and file.read_text() for file in files))
    pids = [int(file.read_text()) for file in files]
    pids += [int(Path(f"/proc/{pid}/stat").read_text().split()[3]) for pid in pids]
    assert all(map(waiting.is_alive, pids))
    parent.kill()
    parent.wait()
    waiting.wait_for(lambda: not any(map(waiting.is_alive, pids)))


# What is told of the run.


def test_line_of_a_run():
    learner = {
        "frames": 24_640,
        "num_frames": 200_000,
        "frames_per_second": 1310.2,
        "updates_per_second": 80.04,
        "replay_size": 6160,
        "mean_return": 258.0,
        "game": "pong",
    }
    rates = ((330, 0.4), (328, 1.2), (325, 0.1), (327, 0.3))
    actors = [
        status_line.Condition(
            f"actor_{i}", {"frames_per_second": rate, "parameter_age_seconds": age}
        )
        for i, (rate, age) in enumerate(rates)
    ]
    others = [status_line.Condition("replay", {}), status_line.Condition("evaluator", {})]
    line = status_line.compose(status_line.Condition("learner", learner), actors, others, 0)
    assert line == (
        "12.3 %  frame 24640 of 200000  1310 frames/s  80 updates/s  replay 6160  "
        "return 258 in pong | actors 4/4: 330 328 325 327 frames/s, parameters 1.2 s old | "
        "restarts 0"
    )


def test_line_with_little_known_and_much_the_matter():
    actors = [
        status_line.Condition("actor_0", {"frames_per_second": "x"}),
        status_line.Condition("actor_1", {"frames_per_second": 7}, "down, again in 4 s"),
        status_line.Condition("actor_2", {"parameter_age_seconds": 9}, "silent for 70 s"),
    ]
    others = [status_line.Condition("replay", {}, "starting")]
    learner = status_line.Condition(
        "learner", {"frames": 5, "mean_return": float("nan"), "replay_size": None}, "starting"
    )
    assert status_line.compose(learner, actors, others, 3) == (
        "frame 5  learner starting | actors 1/3: ? down silent frames/s | replay starting | "
        "restarts 3"
    )


def _tell(**numbers) -> str:
    """A command that writes a status, whose time is another one in each call."""
    text = json.dumps({"time": 0, **numbers})
    return (
        # A 1 in front, as no number in JSON begins with a 0.
        f"echo '{text}' | sed s/0,/$(date +1%N),/ > new.$LABEL; mv new.$LABEL status/$LABEL.json; "
    )


def test_lines_while_it_works(tmp_path, messages):
    """One actor tells of itself again and again, one until both are seen, one told before."""
    status = tmp_path / "status" / "evaluator.json"
    status.parent.mkdir()
    status.write_text('{"time": 1}')
    again = f"while :; do {_tell(frames_per_second=10)} sleep 0.1; done"
    until_both = f"until [ -e both ]; do {_tell(frames_per_second=20)} sleep 0.1; done; {_ENDS}"
    until_seen = "until [ -e seen ]; do sleep 0.02; done"
    fake = _Fake(
        tmp_path,
        report_seconds=0.2,
        learner=f"{_tell(frames=3, num_frames=12)} {until_seen}",
        actor_0=again,
        actor_1=until_both,
        evaluator=until_seen,
    )
    expected = (
        "25.0 %  frame 3 of 12",
        "actors 2/2: 10 20 frames/s | replay starting",
        "actors 1/2: 10 silent frames/s",
        "evaluator starting | restarts 0",
    )

    def see():
        try:
            for text in expected:
                waiting.wait_for(lambda: any(text in line for line in messages()))  # noqa: B023
                if text.startswith("actors 2/2"):
                    (tmp_path / "both").touch()
        finally:
            (tmp_path / "both").touch()
            (tmp_path / "seen").touch()

    thread = _in_background(see)
    assert fake.run() == 0
    thread.join()
    lines = [text for text in messages() if "| actors" in text]
    for text in expected:
        assert any(text in line for line in lines)


@pytest.mark.parametrize(
    ("exit_code", "expected"), [(1, "exit code 1"), (-9, "SIGKILL"), (-63, "signal 63")]
)
def test_exit_codes_in_words(exit_code, expected):
    assert processes.describe(exit_code) == expected
