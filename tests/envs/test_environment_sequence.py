"""Sequences of any environments: probes, gymnasium ids with their own settings, games."""

import json

import dm_env
import gymnasium
import numpy as np
import pytest

from core import checks, settings
from envs import base, cartpole, environment_sequence, gymnasium_vector
from tests.envs import playing
from tests.envs.playing import assert_equal
from tests.envs.playing import play_randomly as play

FIRST, MID, LAST = dm_env.StepType

PROBES = ({"module": "probes", "probe": 4}, {"module": "probes", "probe": 5})
# The same id twice, with other limits.
CARTPOLES = tuple(
    {"module": "gymnasium_vector", "id": "CartPole-v1", "kwargs": {"max_episode_steps": n}}
    for n in (500, 7)
)


def make_settings(environments=PROBES, **changes):
    return environment_sequence.Settings(environments=environments, **changes)


def make_sequence(environments=PROBES, num_envs=2, seed=3):
    return base.make(make_settings(environments), num_envs, seed)


def test_probes_in_sequence():
    """Probe 4 shows 1 and pays by the action, probe 5 pays for matching what it shows."""
    sequence = make_sequence()
    first = sequence.reset()
    np.testing.assert_array_equal(first.observation, 1)
    last = sequence.step(np.array([0, 1]))
    np.testing.assert_array_equal(last.reward, [-1, 1])
    sequence.step(np.zeros(2, np.int32))
    left = sequence.next_task()
    assert (left.step_type == LAST).all()
    assert sequence.task == 1
    for _ in range(20):
        first = sequence.step(np.zeros(2, np.int32))
        assert (first.step_type == FIRST).all()
        shown = first.observation[:, 0]
        last = sequence.step(np.array([0, 1]))
        np.testing.assert_array_equal(last.reward, shown * [-1, 1])
    assert sequence.observation_spec().shape == (1,)
    sequence.close()


def test_each_environment_is_the_one_alone():
    sequence = make_sequence()
    for number in range(3):
        timesteps = [sequence.reset(), *play(sequence, 50, seed=number)]
        seed = json.loads(str(sequence.get_state()["settings"]))["seed"]
        alone = base.make(base.task(make_settings(), number), 2, seed)
        assert_equal(timesteps, [alone.reset(), *play(alone, 50, seed=number)])
        sequence.next_task()
    sequence.close()


def test_gymnasium_ids_with_arguments_of_their_own():
    """A limit of 7 steps in the second: then an episode ends at the seventh, which it did not."""
    sequence = make_sequence(CARTPOLES)
    sequence.reset()
    before = [t.last() for t in play(sequence, 8)]
    assert not np.any(before[6])
    sequence.next_task()
    sequence.step(np.zeros(2, np.int32))
    alternate = [sequence.step(np.full(2, i % 2)) for i in range(7)]
    assert alternate[-1].last().all()
    assert not any(timestep.last().any() for timestep in alternate[:-1])
    sequence.close()


class _Gravity(gymnasium.Env):
    """Shows its gravity, which is an argument."""

    observation_space = gymnasium.spaces.Box(-100, 100, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, gravity=9.8, size=2):
        self.observation_space = gymnasium.spaces.Box(-100, 100, (size,), np.float32)
        self._seen = np.full(size, gravity, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._seen, {}

    def step(self, action):
        return self._seen, 0.0, False, False, {}


gymnasium.register("Gravity-v0", _Gravity)


def gravities(*kwargs):
    return [{"module": "gymnasium_vector", "id": "Gravity-v0", "kwargs": x} for x in kwargs]


def test_one_id_with_different_arguments():
    """Which are what is different: CartPole has no gravity among its arguments."""
    sequence = make_sequence(gravities({"gravity": 5.0}, {"gravity": 12.0}))
    assert (sequence.reset().observation == 5).all()
    sequence.next_task()
    assert (sequence.step(np.zeros(2, np.int32)).observation == 12).all()
    sequence.close()


def test_environments_that_differ_in_their_specs_are_refused():
    """Sections are checked when they are parsed, what they are of when they are built."""
    chosen = make_settings(gravities({"size": 2}, {"size": 3}))
    with pytest.raises(checks.ConfigError) as error:
        base.make(chosen, 1, 0)
    assert str(error.value) == (
        "environment.environments: 'Gravity-v0_size=3' has float32[3] and 3 actions, 1 frames a "
        "step: expected float32[2] and 3 actions, 1 frames a step, as the first has"
    )
    chosen = make_settings([PROBES[0], {"module": "probes", "probe": 1}])
    with pytest.raises(checks.ConfigError, match=r"'1' has .* 1 actions.*expected .* 2 actions"):
        base.make(chosen, 1, 0)


@pytest.mark.parametrize(
    ("environments", "message"),
    [
        ([], r"^environment.environments = \[\]: expected at least one"),
        ([PROBES[0], PROBES[0]], "twice in a row"),
        ([*PROBES, PROBES[0]], "twice in a row"),
        ([*CARTPOLES, CARTPOLES[0]], "twice in a row"),
        ([{"module": "doom"}], r"^environment\.environments\[0\]\.module = 'doom'"),
        ([PROBES[0], {"probe": 5}], r"^environment\.environments\[1\]\.module is missing"),
        (
            [PROBES[0], {"module": "probes", "probe": 9}],
            r"^environment\.environments\[1\]\.probe = 9: expected one of",
        ),
        (
            [PROBES[0], {"module": "probes", "probe": 5, "colour": 1}],
            r"^environment\.environments\[1\]\.colour = 1: unknown key",
        ),
        (
            [PROBES[0], {"module": "environment_sequence"}],
            r"^environment\.environments\[1\]\.module = 'environment_sequence': expected a single",
        ),
        (
            [PROBES[0], {"module": "labelled_images", "held_out": 5_000}],
            r"^environment\.environments\[1\]\.held_out = 5000: expected fewer than images",
        ),
    ],
)
def test_bad_lists_are_refused_in_one_line(environments, message):
    with pytest.raises(checks.ConfigError, match=message) as error:
        make_settings(environments)
    assert "\n" not in str(error.value)


def test_an_environment_that_can_not_be_made_is_named_by_its_place():
    chosen = make_settings([PROBES[0], {"module": "gymnasium_vector", "id": "CartPol-v1"}])
    with pytest.raises(checks.ConfigError, match=r"^environment\.environments\[1\]\.id = 'CartPol"):
        base.make(chosen, 1, 0)


def test_keys_left_out_have_their_defaults():
    left_out = [{"module": "cartpole"}, {"module": "gymnasium_vector"}]
    first, second = make_settings(left_out).tasks
    assert (first, second) == (cartpole.Settings(), gymnasium_vector.Settings())


@pytest.mark.parametrize("is_exact_first", [True, False])
def test_whether_it_resumes_exactly_is_a_matter_of_the_present_task(is_exact_first):
    mixed = [{"module": "cartpole"}, {"module": "gymnasium_vector"}][:: 1 if is_exact_first else -1]
    sequence = make_sequence(mixed)
    sequence.reset()
    assert sequence.exact_resume == is_exact_first
    sequence.next_task()
    sequence.step(np.zeros(2, np.int32))
    assert sequence.exact_resume != is_exact_first
    restored = make_sequence(mixed)
    restored.set_state(sequence.get_state())
    assert restored.exact_resume != is_exact_first
    sequence.close()
    restored.close()


def test_one_environment_may_be_a_sequence():
    sequence = make_sequence(PROBES[:1])
    sequence.reset()
    sequence.next_task()
    assert sequence.step(np.zeros(2, np.int32)).first().all()
    sequence.close()


@pytest.mark.parametrize("steps_after", [None, 0, 1, 5])
def test_set_state_continues_around_a_change(steps_after, tmp_path):
    """Saved before the change, while the first is being left (0), or in the second."""
    playing.check_sequence_continues(
        make_sequence(), make_sequence(), tmp_path / "state.npz", 11, steps_after, num_more=30
    )


def test_state_of_another_sequence_is_refused():
    sequence, other = make_sequence(), make_sequence(PROBES[::-1])
    sequence.reset()
    with pytest.raises(ValueError, match="other settings"):
        other.set_state(sequence.get_state())
    sequence.close()
    other.close()


def test_a_section_of_a_config_is_parsed():
    """Lists of sections as a config file has them; its length is told with its name."""
    config = settings.to_config(make_settings(frames_per_environment=300))
    parsed = base.parse(config)
    assert parsed == make_settings(frames_per_environment=300)
    assert base.task_name(parsed) == "2_environments_of_300_frames"
    assert base.frames_per_task(parsed) == 300
    assert base.frames_per_step(parsed) == 1
    assert [base.task_name(task) for task in base.tasks(parsed)] == ["4", "5"]
    with pytest.raises(checks.ConfigError, match="frames_per_environment = 0: expected an integer"):
        base.parse({**config.to_dict(), "frames_per_environment": 0})
