"""The processes of a benchmark: answers, stray output, and every way in which a worker can fail."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import line_protocol

_ROOT = Path(__file__).resolve().parents[2]
_SERVING = """
import os, sys, time
from benchmarks import line_protocol
answers = line_protocol.claim_stdout()
done = [0, 0]
def train(seconds):
    print("chatter")
    os.write(1, b"chatter from C\\n")
    time.sleep(seconds)
    if seconds:
        done[0] += 40
        done[1] += 10
    {then}
    return line_protocol.Counts(*done)
line_protocol.serve(answers, {{"settings": "none"}}, train)
"""


def start(program: str, ready_seconds: float = 30.0) -> line_protocol.Worker:
    return line_protocol.Worker(
        "test", [sys.executable, "-c", program], _ROOT, ready_seconds=ready_seconds
    )


def test_windows_hold_the_differences_of_the_counts_whatever_else_is_printed():
    worker = start(_SERVING.format(then="pass"))
    try:
        assert worker.description == {"settings": "none"}
        windows = [worker.run(0.05), worker.run(0.1)]
    finally:
        worker.close()
    for window, seconds in zip(windows, (0.05, 0.1)):
        assert (window.agent_steps, window.updates) == (40, 10)
        assert seconds <= window.seconds < seconds + 5
        # It sleeps: the processor's time is not the clock's.
        assert 0 < window.cpu_seconds < window.seconds
        assert window.peak_memory_mb > 1


def test_a_worker_waits_between_its_turns():
    worker = start(_SERVING.format(then="pass"))
    try:
        before = worker.run(0.01)
        time.sleep(0.2)
        begin = time.monotonic()
        after = worker.run(0.01)
        seconds = time.monotonic() - begin
    finally:
        worker.close()
    assert before.agent_steps == after.agent_steps == 40
    assert after.seconds < seconds


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the children are found in /proc")
def test_memory_and_time_of_child_processes_count():
    """The child's memory is there before the worker serves; a turn ends when it has computed."""
    child = "x = bytearray(200 << 20)\nprint(flush=True)\nwhile True: pass"
    begin = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE)
child.stdout.readline()
def child_ticks():
    stat = open(f"/proc/{{{{child.pid}}}}/stat").read()
    return sum(int(x) for x in stat.rpartition(")")[2].split()[11:13])
def let_it_compute(ticks):
    end = child_ticks() + ticks
    while child_ticks() < end:
        time.sleep(0.01)
{{}}
child.kill()
"""
    ticks = os.sysconf("SC_CLK_TCK") // 10
    worker = start(begin.format(_SERVING.format(then=f"let_it_compute({ticks})")))
    try:
        window = worker.run(0.01)
    finally:
        worker.close()
    assert 200 < window.peak_memory_mb < 400
    assert window.cpu_seconds >= 0.09


def test_a_worker_ends_with_code_0_when_its_driver_is_gone():
    program = _SERVING.format(then="pass")
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=_ROOT,
        input="run 0.01\n",
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 2


def test_a_program_that_is_missing_is_named():
    with pytest.raises(line_protocol.WorkerError, match="/nowhere/python can't be started"):
        line_protocol.Worker("test", ["/nowhere/python"], _ROOT)


def test_a_worker_that_dies_before_it_is_ready_leaves_its_last_words():
    with pytest.raises(line_protocol.WorkerError, match=r"'test' ended \(exit code 3\)") as caught:
        start("import sys; print('no such game', file=sys.stderr); sys.exit(3)")
    assert caught.value.output == "no such game"


def test_a_worker_that_dies_in_its_turn_leaves_its_last_words():
    worker = start(_SERVING.format(then="if seconds: raise MemoryError('too big')"))
    try:
        with pytest.raises(line_protocol.WorkerError, match=r"ended \(exit code 1\)") as caught:
            worker.run(0.01)
        # A further turn fails in the same way, though there is nobody to write to.
        with pytest.raises(line_protocol.WorkerError):
            worker.run(0.01)
    finally:
        worker.close()
    assert caught.value.output.splitlines()[-1] == "MemoryError: too big"


def test_a_worker_that_is_not_ready_in_time_is_killed():
    begin = time.perf_counter()
    with pytest.raises(line_protocol.WorkerError, match="gave no answer within 0 s"):
        start("import time; time.sleep(60)", ready_seconds=0.3)
    assert time.perf_counter() - begin < 20


@pytest.mark.parametrize("answer", ["hello", "[1]"])
def test_an_answer_that_is_no_object_is_quoted(answer: str):
    with pytest.raises(line_protocol.WorkerError, match="expected a JSON object") as caught:
        start(f"print({answer!r})")
    assert answer in str(caught.value)


def test_a_turn_without_updates_is_refused():
    """A ratio with it would be infinite or zero."""
    worker = start(_SERVING.format(then="done[1] = 0"))
    try:
        with pytest.raises(line_protocol.WorkerError, match="expected positive numbers"):
            worker.run(0.01)
    finally:
        worker.close()


def test_a_command_that_is_unknown_ends_the_worker():
    result = subprocess.run(
        [sys.executable, "-c", _SERVING.format(then="pass")],
        cwd=_ROOT,
        input="walk 3\n",
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "unknown command 'walk 3'" in result.stderr
