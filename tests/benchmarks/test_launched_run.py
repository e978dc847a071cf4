import pytest

from benchmarks import launched_run
from core import checks


def test_finds_what_a_command_line_says_of_the_configuration():
    line = ["--minutes=3", "--config=a.py:pong", "--config.replay.capacity=7", "--config.name=a=b"]
    assert launched_run.config_arguments(line) == (
        "a.py:pong",
        {"replay.capacity": "7", "name": "a=b"},
    )


@pytest.mark.parametrize("line", [["--minutes=3"], ["--config", "a.py"]])
def test_refuses_a_command_line_without_a_configuration(line):
    with pytest.raises(checks.ConfigError, match="config: expected --config=FILE"):
        launched_run.config_arguments(line)


def test_waits_until_something_is_so():
    answers = iter([False, True])
    launched_run.wait_until(lambda: next(answers), 5)
    with pytest.raises(TimeoutError, match=r"not within 0.1 s\nas before"):
        launched_run.wait_until(lambda: False, 0.1, lambda: "as before")
