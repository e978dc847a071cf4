"""The checks of a machine, with what may be wrong with one."""

import sys
from pathlib import Path

import pytest

from cluster.doctor import finding, forecast, machine, replay_server, software
from cluster.doctor.finding import Level
from configs import probe
from envs import probes
from tests.replay.reverb.replay_server import PYTHON, needs_server
from training import derived, run_settings

_GB = 10**9
_H100 = ("NVIDIA H100 80GB HBM3", "550.54.15")


def test_a_line_has_level_name_and_remedy():
    found = finding.Finding("disk", Level.WARNING, "full", "another\ndisk")
    assert found.line() == "warn  disk           full; remedy: another disk"


def test_whatever_a_check_raises_is_a_failure():
    found = finding.attempt("disk", "another disk", lambda: 1 // 0)
    assert found == ("disk", Level.FAILURE, "integer division or modulo by zero", "another disk")


@pytest.mark.parametrize(
    ("number", "said"), [(999, "999 bytes"), (7.2e9, "7.2 GB"), (2.5e11, "250 GB"), (0, "0 bytes")]
)
def test_sizes_as_people_say_them(number, said):
    assert finding.size(number) == said


def test_python_that_is_too_old():
    assert software.check_python((3, 10, 2)).level == Level.FAILURE
    assert software.check_python((3, 11, 0)).level == Level.OK


@pytest.mark.parametrize(
    ("gpus", "plugin", "backend", "platform", "level", "said"),
    [
        ([], "", "cpu", "auto", Level.OK, "no NVIDIA GPU"),
        ([], "12", "cpu", "gpu", Level.FAILURE, "platform = 'gpu'"),
        ([_H100], "12", "gpu", "auto", Level.OK, "CUDA 12"),
        ([_H100], "12", "", "cpu", Level.OK, "not used"),
        ([_H100], "", "cpu", "auto", Level.WARNING, "without CUDA"),
        ([_H100], "", "cpu", "gpu", Level.FAILURE, "without CUDA"),
        ([_H100], "13", "cpu", "auto", Level.WARNING, "too old for CUDA 13"),
        ([("Tesla", "525.60.13")], "12", "gpu", "auto", Level.OK, "CUDA 12"),
        ([("Tesla", "525.59.1")], "12", "cpu", "gpu", Level.FAILURE, "too old for CUDA 12"),
        ([_H100, _H100], "12", "cpu", "auto", Level.WARNING, "JAX uses cpu"),
    ],
)
def test_gpus(gpus, plugin, backend, platform, level, said):
    found = software.judge_gpu(gpus, plugin, backend, platform)
    assert found.level == level
    assert said in found.found
    assert bool(found.remedy) == (level != Level.OK)


def test_a_driver_whose_tool_fails_is_no_gpu(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA A100, 1, 535.1'\nexit $STATUS\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("STATUS", "9")
    assert software.find_gpus() == []
    monkeypatch.setenv("STATUS", "0")
    assert software.find_gpus() == [("NVIDIA A100, 1", "535.1")]


def test_an_environment_is_played():
    assert "probes" in software.check_environment(probes.Settings()).found


def test_memory_names_the_capacity_that_fits():
    found = machine.check_memory(10 * _GB, 1_000_000, 1, available=5 * _GB)
    assert found.level == Level.FAILURE
    assert "replay.capacity = 1000000" in found.found
    assert machine.check_memory(4 * _GB, 1_000_000, 1, available=5 * _GB).level == Level.OK


@pytest.mark.parametrize(
    ("num_envs", "num_threads", "cores", "level"),
    [(16, 0, 2, Level.OK), (16, 4, 2, Level.WARNING), (1, 0, 1, Level.WARNING)],
)
def test_cores(num_envs, num_threads, cores, level):
    assert machine.check_cores(num_envs, num_threads, cores).level == level


def test_disk_without_room(tmp_path):
    directory = tmp_path / "runs/not/yet/there"
    assert machine.check_disk(directory, 3 * _GB, free=2 * _GB).level == Level.WARNING
    assert machine.check_disk(directory, 3 * _GB, free=4 * _GB).level == Level.OK
    assert list(tmp_path.iterdir()) == []


def test_disk_that_takes_no_files():
    with pytest.raises(OSError, match="/proc/1"):
        machine.check_disk(Path("/proc/1/fdinfo/none"), 0)


def test_no_replay_server(tmp_path):
    found = replay_server.check(tmp_path / "python")
    assert (found.level, found.remedy) == (Level.WARNING, "make replay-env")


def test_replay_server_that_does_not_start(tmp_path):
    """This environment has no reverb."""
    found = replay_server.check(Path(sys.executable))
    assert found.level == Level.FAILURE
    assert "does not serve: " in found.found
    assert found.remedy


@needs_server
def test_replay_server_that_serves():
    found = replay_server.check(PYTHON)
    assert found.level == Level.OK, found
    assert "gave back what was written" in found.found


def test_a_forecast_is_of_the_whole_run():
    config = probe.get_config("dqn:1")
    config.num_frames = 10**9
    settings = run_settings.parse(derived.resolve(config))
    speed = forecast.measure(settings, seconds=0.2)
    frames_per_update = settings.training.update_period_frames
    assert speed.updates == pytest.approx(speed.frames / frames_per_update, abs=1)
    said = forecast.describe(settings, forecast.Speed(frames=5_000, updates=1_250, seconds=2.0))
    days = 10**9 / 2_500 / 86_400
    assert "2500 frames/s and 625.0 updates/s" in said
    assert f"1,000,000,000 frames take {days:.1f} days" in said


def test_a_run_too_short_for_a_forecast():
    config = probe.get_config("dqn:1")
    config.num_frames = 4
    settings = run_settings.parse(derived.resolve(config))
    assert forecast.check(settings, seconds=0.2).level == Level.WARNING


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(60, "60.0 seconds"), (600, "10.0 minutes"), (7200, "2.0 hours"), (172_800, "2.0 days")],
)
def test_durations(seconds, said):
    config = probe.get_config("dqn:1")
    config.num_frames = 100
    settings = run_settings.parse(derived.resolve(config))
    assert f"take {said}," in forecast.describe(settings, forecast.Speed(100, 1, float(seconds)))
