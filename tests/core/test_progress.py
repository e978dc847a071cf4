"""Progress in a log file: lines of what is done, what is left, and how long that takes."""

import logging

import pytest

from core import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_now_and_then_and_tell_the_time_left(clock):
    lines = []
    shown = progress.Progress(10, "fit", first=2, name="probe", say=lines.append)
    for done, seconds in ((3, 10), (4, 40), (5, 60), (8, 120)):
        clock[0] = 100.0 + seconds
        shown.advance(done)
    assert lines == [
        "probe:  40.0 %  fit 4 of 10  0.05 fits/s  02:00 left",
        "probe:  80.0 %  fit 8 of 10  0.05 fits/s  00:40 left",
    ]


def test_a_report_is_a_line_with_its_numbers():
    lines = []
    shown = progress.Progress(200, "frame", say=lines.append)
    shown.report(50, 0.0, "pong", {})
    shown.report(220, 310.4, "", {"return": 2.0, "loss": 0.12345})
    assert lines == [
        " 25.0 %  frame 50 of 200  0.00 frames/s  ? left  pong",
        "100.0 %  frame 220 of 220  310 frames/s  00:00 left  return 2  loss 0.1235",
    ]


def test_items_are_followed(clock, caplog):
    caplog.set_level(logging.INFO, logger="absl")
    found = []
    for item in progress.track("abc", "letter"):
        clock[0] += 31
        found.append(item)
    assert found == ["a", "b", "c"]
    assert caplog.messages[0] == " 33.3 %  letter 1 of 3  0.03 letters/s  01:02 left"
    assert len(caplog.messages) == 3
    assert list(progress.track((x for x in "ab"), "letter", total=2)) == ["a", "b"]
