"""How fast environments and acting are, with any number of environments."""

from collections.abc import Callable, Mapping

import numpy as np

from benchmarks import prepared
from envs import base as envs_base
from training import run_settings

Row = tuple[str, float, str]
"""What was measured, the number, its unit."""

SettingsOf = Callable[[str, Mapping[str, object]], run_settings.RunSettings]
"""(name of a config, changes of it) -> its settings."""

_NUM_ENVS = (1, 16, 64)
_STEPS = 800


def measure_environments(settings_of: SettingsOf, repeats: int) -> list[Row]:
    """Agent steps per second of random play, with as many emulator threads as cores."""
    rows = []
    settings = settings_of("rainbow", {})
    for num_envs in _NUM_ENVS:
        environment = envs_base.make(settings.environment, num_envs, seed=1)
        environment.reset()
        rng = np.random.default_rng(0)
        num_actions = environment.action_spec().num_values

        def steps(environment=environment, num_envs=num_envs, rng=rng, num_actions=num_actions):
            for _ in range(max(1, _STEPS // num_envs)):
                environment.step(rng.integers(num_actions, size=num_envs, dtype=np.int32))

        seconds = prepared.median_seconds(steps, repeats)
        speed = max(1, _STEPS // num_envs) * num_envs / seconds
        rows.append((f"environment, {num_envs} environments", speed, "agent steps/s"))
        environment.close()
    return rows


def measure_acting(settings_of: SettingsOf, repeats: int) -> list[Row]:
    """Recording a time step of N environments and choosing their actions, the actions fetched."""
    rows = []
    for num_envs in _NUM_ENVS:
        ready = prepared.Prepared(settings_of("rainbow", {"num_envs": num_envs}), num_steps=8)
        milliseconds = 1e3 * prepared.median_seconds(ready.observe, repeats)
        rows.append((f"act and add to the replay, {num_envs} environments", milliseconds, "ms"))
    return rows
