"""The command `effective-rainbow`: what it starts, and what an installation of it has."""

import importlib.util
import os
from pathlib import Path

import pytest

from effective_rainbow import __main__ as command
from tests.core import test_rooms

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def started(monkeypatch):
    """What would be executed: program, arguments and variables."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    return calls


def test_arguments_go_to_the_program(started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/mine")
    command.main(["effective-rainbow", "plot", "--layers", "runs/a"])
    ((_, arguments, variables),) = started
    assert arguments[1:] == ["-m", "scripts.plot", "--layers", "runs/a"]
    assert variables["PYTHONPATH"].split(os.pathsep) == [str(_ROOT), str(tmp_path), "/mine"]
    assert variables["PYTHONSAFEPATH"] == "1"


@pytest.mark.parametrize("given", [[], ["fly"], ["command_line"]])
def test_unknown_programs_end_in_one_line(started, given, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["effective-rainbow", *given])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: program = ")
    assert "train" in line
    assert not started


def test_a_config_of_ones_own_comes_before_the_projects(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["--config=configs/probe.py:dqn:3", "--config", "configs/probe.py", "configs/dqn.py"]
    assert command.with_configs(given) == [
        f"--config={_ROOT}/configs/probe.py:dqn:3",
        *("--config", f"{_ROOT}/configs/probe.py", "configs/dqn.py"),
    ]
    several = "--configs=configs/dqn.py:pong,mine.py,configs/probe.py:3"
    expected = f"--configs={_ROOT}/configs/dqn.py:pong,mine.py,{_ROOT}/configs/probe.py:3"
    assert command.with_configs([several]) == [expected]
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "probe.py").touch()
    assert command.with_configs(given) == given
    others = ["--config=mine.py", "--run_dir=configs", "--config.name=configs/dqn.py"]
    assert command.with_configs(others) == others


def test_an_installation_has_every_package_under_one_name():
    spec = importlib.util.spec_from_file_location("setup", _ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    setup = importlib.util.module_from_spec(spec)
    before = Path.cwd()
    os.chdir(_ROOT)
    try:
        spec.loader.exec_module(setup)
    finally:
        os.chdir(before)
    assert set(setup.ROOMS) == test_rooms.ROOMS.keys()
    directories = {
        str(file.parent.relative_to(_ROOT))
        for room in test_rooms.ROOMS
        for file in (_ROOT / room).rglob("*.py")
    }
    assert set(setup.PACKAGES.values()) == directories
    assert all(name.startswith("effective_rainbow.rooms.") for name in setup.PACKAGES)
