"""What roles tell each other: there and back, and nothing trusted on the way."""

import numpy as np
import pytest

from cluster.messages import messages
from replay.reverb import wire

ANNOUNCEMENT = messages.Announcement(
    frames=2**40,
    updates=7,
    task=3,
    finished=True,
    version=5,
    weight=0.1,
    confirmed={2**62: 4, 5: 2},
    episodes={2**62: 9, 8: 1},
    limits={2**62: 700, 9: 3},
)
PARAMS = {"layer": {"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)}}
PARAMETERS = messages.Parameters(2**62 + 5, 10, 20, 1, PARAMS)
REPORT = messages.Report(
    2**62,
    1,
    400,
    90,
    2,
    33,
    2**61,
    6,
    [messages.EpisodeReport(0, -1.5, 40, 1), messages.EpisodeReport(3, 2.0, 8, 2)],
)


def test_a_status_comes_back_as_it_was():
    """A journal that is in one of the accounts has 0 in the others."""
    found = messages.Announcement.decode(ANNOUNCEMENT.encode())
    assert found == ANNOUNCEMENT._replace(
        confirmed={2**62: 4, 5: 2, 8: 0, 9: 0},
        episodes={2**62: 9, 5: 0, 8: 1, 9: 0},
        limits={2**62: 700, 5: 0, 8: 0, 9: 3},
    )


def test_parameters_come_back_as_they_were():
    found = messages.Parameters.decode(PARAMETERS.encode(), PARAMS)
    assert found[:-1] == PARAMETERS[:-1]
    np.testing.assert_array_equal(found.params["layer"]["w"], PARAMS["layer"]["w"])
    np.testing.assert_array_equal(found.params["layer"]["b"], PARAMS["layer"]["b"])


@pytest.mark.parametrize(
    "report", [REPORT, REPORT._replace(episodes=[]), messages.EvaluatorReport(2**40, 2**42)]
)
def test_a_report_comes_back_as_it_was_whoever_has_sent_it(report):
    assert messages.decode_report(report.encode()) == report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:-1], "parameters of 2 arrays: expected 3"),
        (lambda a: [*a[:2], a[2].astype(np.float64)], r"array 2 is float64\[2, 3\], expected"),
        (lambda a: [a[0], a[2], a[1]], "do all processes run the same configuration"),
        (lambda a: [a[0][:2], *a[1:]], r"array 0 is int64\[2\], expected int64\[4\]"),
    ],
)
def test_parameters_of_another_configuration_are_refused(change, message):
    with pytest.raises(wire.WireError, match=message):
        messages.Parameters.decode(change(PARAMETERS.encode()), PARAMS)


def test_malformed_reports_and_statuses_are_refused():
    numbers, episodes = REPORT.encode()
    with pytest.raises(wire.WireError, match=r"report: array 1 is float64\[2, 2\]"):
        messages.Report.decode([numbers, episodes[:, :2]])
    with pytest.raises(wire.WireError, match="an episode with numbers that are none"):
        messages.Report.decode([numbers, np.full_like(episodes, np.nan)])
    with pytest.raises(wire.WireError, match="evaluator's report with -1"):
        messages.decode_report(messages.EvaluatorReport(-1, 0).encode())
    with pytest.raises(wire.WireError, match="report of 0 arrays: expected 2"):
        messages.decode_report([])
    with pytest.raises(wire.WireError, match="announcement of 0 arrays"):
        messages.Announcement.decode([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": -1}, "announcement with -1: expected whole numbers >= 0"),
        ({"confirmed": {7: -3}}, "announcement with -3"),
        ({"weight": np.inf}, "announcement with weight inf: expected a finite number >= 0"),
        ({"weight": -0.5}, "announcement with weight -0.5"),
    ],
)
def test_a_status_with_numbers_that_can_not_be_is_refused(change, message):
    with pytest.raises(wire.WireError, match=message):
        messages.Announcement.decode(ANNOUNCEMENT._replace(**change).encode())


def test_counts_below_zero_are_refused_but_for_the_task_before_the_first():
    assert messages.Report.decode(REPORT._replace(task=-1).encode()).task == -1
    for change in ({"task": -2}, {"frames": -1}, {"first_episode": -1}):
        with pytest.raises(wire.WireError, match="report with -1: expected whole numbers >= 0"):
            messages.Report.decode(REPORT._replace(**change).encode())
    with pytest.raises(wire.WireError, match="parameters with -4"):
        messages.Parameters.decode(PARAMETERS._replace(updates=-4).encode(), PARAMS)


def test_an_incarnation_is_shortened_to_what_a_report_can_carry():
    short = messages.short_incarnation(2**128 - 1)
    assert messages.Report.decode(REPORT._replace(incarnation=short).encode()).incarnation == short
