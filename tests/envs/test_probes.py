"""The five probes: what an agent sees and earns, by hand."""

import dm_env
import numpy as np
import pytest

from core import checks
from envs import base, probes

FIRST, MID, LAST = dm_env.StepType


def make_environment(probe, num_envs=2, seed=0):
    return base.make(probes.Settings(probe=probe), num_envs, seed)


def play(probe, actions, num_envs=2):
    environment = make_environment(probe, num_envs)
    return [environment.reset(), *(environment.step(np.asarray(row)) for row in actions)]


def table(timesteps, env_id=0):
    """(step type, reward, discount, observation) of one environment, step by step."""
    return [
        (t.step_type[env_id], t.reward[env_id], t.discount[env_id], t.observation[env_id, 0])
        for t in timesteps
    ]


def test_probe_1_is_one_step_with_reward_one():
    first, last = (FIRST, 0.0, 0.0, 1.0), (LAST, 1.0, 0.0, 1.0)
    assert table(play(1, [[0, 0]] * 3)) == [first, last, first, last]


def test_probe_2_pays_what_it_showed():
    timesteps = play(2, np.zeros((999, 64), int), num_envs=64)
    shown = np.stack([t.observation[:, 0] for t in timesteps[0::2]])
    paid = np.stack([t.reward for t in timesteps[1::2]])
    np.testing.assert_array_equal(paid, shown)
    # 32 000 fair draws of -1 or +1: a mean beyond 0.03 is 5 standard deviations out.
    assert set(np.unique(shown)) == {-1.0, 1.0}
    assert abs(shown.mean()) < 0.03
    # The same between environments and from an episode to the next.
    assert abs((shown[1:] * shown[:-1]).mean()) < 0.03
    assert abs((shown[:, 1:] * shown[:, :-1]).mean()) < 0.03


def test_probe_3_pays_at_the_end_of_two_steps():
    first, mid, last = (FIRST, 0.0, 0.0, 0.0), (MID, 0.0, 1.0, 1.0), (LAST, 1.0, 0.0, 1.0)
    assert table(play(3, [[0, 0]] * 5)) == [first, mid, last] * 2


def test_probe_4_pays_by_the_action():
    timesteps = play(4, [[0, 1], [0, 0], [1, 0]])
    assert [row[1] for row in table(timesteps, 0)] == [0.0, -1.0, 0.0, 1.0]
    assert [row[1] for row in table(timesteps, 1)] == [0.0, 1.0, 0.0, -1.0]
    assert {row[3] for row in table(timesteps, 0)} == {1.0}


def test_probe_5_pays_for_the_action_that_matches_the_observation():
    rng = np.random.default_rng(0)
    actions = rng.integers(2, size=(399, 2))
    timesteps = play(5, actions)
    seen = set()
    for t in range(0, 400, 2):
        for env_id in range(2):
            sign, action = timesteps[t].observation[env_id, 0], actions[t][env_id]
            reward = timesteps[t + 1].reward[env_id]
            assert reward == {(1, 1): 1, (-1, 0): 1, (1, 0): -1, (-1, 1): -1}[sign, action]
            seen.add((sign, action))
    assert len(seen) == 4


@pytest.mark.parametrize("probe", [0, 6, "1", True, 1.0])
def test_other_numbers_are_refused(probe):
    with pytest.raises(checks.ConfigError, match=r"environment\.probe = .*expected one of 1, 2"):
        base.parse({"module": "probes", "probe": probe})
