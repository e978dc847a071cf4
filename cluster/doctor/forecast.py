"""How fast a configuration trains here, and so how long all of it takes."""

import dataclasses
import time
from typing import Any, NamedTuple

import jax

from cluster.doctor.finding import Finding, Level
from training import closed_loop, run_settings
from training import experiment as experiment_lib
from training.logs import stage_timer

_SETTLING_ITERATIONS = 8
"""Iterations after the first update that are not counted, as programs are compiled in them."""


class Speed(NamedTuple):
    """What was measured.

    Attributes:
      frames: of one seed, in that time.
      updates: of one seed.
      seconds: that they took.
    """

    frames: int
    updates: int
    seconds: float


def check(settings: run_settings.RunSettings, seconds: float) -> Finding:
    """Plays and learns for a while, and says how long the whole run would take."""
    speed = measure(settings, seconds)
    if not speed.updates:
        found = f"{settings.name}: ends before an update could be timed"
        return Finding("forecast", Level.WARNING, found, "name a longer configuration")
    return Finding("forecast", Level.OK, describe(settings, speed))


def describe(settings: run_settings.RunSettings, speed: Speed) -> str:
    """The speed, and how long the whole run takes with it."""
    assert settings.num_frames is not None, "resolved"
    seconds = settings.num_frames * speed.seconds / speed.frames
    return (
        f"{settings.name}: {settings.num_seeds * speed.frames / speed.seconds:.0f} frames/s and "
        f"{speed.updates / speed.seconds:.1f} updates/s, in {speed.seconds:.0f} s; "
        f"{settings.num_frames:,} frames take {_duration(seconds)}, evaluations and snapshots not "
        "counted"
    )


def measure(settings: run_settings.RunSettings, seconds: float) -> Speed:
    """Frames and updates in about so many seconds of training; nothing is written.

    Learning begins as soon as the replay has something to draw, instead of at replay.min_size.
    """
    least = max(experiment_lib.least_filling(settings), settings.replay.batch_size)
    replay = dataclasses.replace(settings.replay, min_size=min(settings.replay.min_size, least))
    training = dataclasses.replace(settings.training, dataset="", offline_updates=0)
    settings = dataclasses.replace(settings, replay=replay, training=training)
    experiment = experiment_lib.make(settings)
    try:
        loop = closed_loop.make(settings, experiment)
        loop.begin()
        _settle(loop)
        return _time(loop, seconds)
    finally:
        experiment.environment.close()


def _settle(loop: Any) -> None:
    timer = stage_timer.StageTimer()
    iterations = 0
    while iterations < _SETTLING_ITERATIONS and not loop.counts.is_finished:
        loop.iterate(timer)
        iterations += loop.counts.counters["updates"] > 0
    jax.block_until_ready(loop.state)


def _time(loop: Any, seconds: float) -> Speed:
    timer = stage_timer.StageTimer()
    counters = loop.counts.counters
    frames, updates = counters["frames"], counters["updates"]
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds and not loop.counts.is_finished:
        loop.iterate(timer)
        timer.next_iteration()
    jax.block_until_ready(loop.state)
    passed = time.perf_counter() - begin
    return Speed(counters["frames"] - frames, counters["updates"] - updates, passed)


def _duration(seconds: float) -> str:
    for unit, length, most in (("seconds", 1, 120), ("minutes", 60, 120), ("hours", 3600, 48)):
        if seconds < most * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 86_400:.1f} days"
