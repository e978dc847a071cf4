"""Every environment module keeps the contract of envs/base.py."""

import dm_env
import numpy as np
import pytest

from core import checks, plugins, settings
from envs import (
    atari,
    base,
    cartpole,
    classification_mdp,
    environment_sequence,
    game_sequence,
    gymnasium_vector,
    labelled_images,
    point_mass,
    probes,
    slow_regression,
    task_stream,
)
from tests.envs.playing import assert_equal, draw_actions, play

FIRST, MID, LAST = dm_env.StepType

# Settings under which episodes end within 150 steps, some by game over, some by truncation.
OVERRIDES = {
    "atari_dqn_zoo": (atari, {"game": "breakout", "max_episode_frames": 400, "reseed_steps": 120}),
    "atari_machado": (atari, {"game": "qbert", "protocol": "machado", "max_episode_frames": 300}),
    "game_sequence": (game_sequence, {"games": ("breakout", "qbert"), "max_episode_frames": 400}),
    "environment_sequence": (
        environment_sequence,
        {"environments": [{"module": "probes", "probe": p} for p in (5, 4)]},
    ),
    "cartpole": (cartpole, {}),
    "classification_mdp": (classification_mdp, {"images": 20, "episode_steps": 30}),
    "gymnasium": (gymnasium_vector, {"id": "CartPole-v1"}),
    "labelled_images": (labelled_images, {"data": "digits", "images": 20, "episode_steps": 30}),
    "point_mass": (point_mass, {"map": "easy", "max_steps": 40}),
    "probe_1": (probes, {"probe": 1}),
    "probe_2": (probes, {"probe": 2}),
    "probe_3": (probes, {"probe": 3}),
    "probe_4": (probes, {"probe": 4}),
    "probe_5": (probes, {"probe": 5}),
    "slow_regression": (slow_regression, {"episode_steps": 30}),
    "task_stream": (task_stream, {"each": cartpole.Settings()}),
}
every_module = pytest.mark.parametrize("name", OVERRIDES)


def make_environment(name, num_envs=2, seed=7):
    module, overrides = OVERRIDES[name]
    return base.make(module.Settings(**overrides), num_envs, seed)


@every_module
def test_data_are_as_the_specs_say(name):
    environment = make_environment(name)
    spec = environment.observation_spec()
    timesteps = [environment.reset(), *play(environment, draw_actions(environment, 150))]
    for timestep in timesteps:
        assert timestep.observation.shape == (2, *spec.shape)
        for observation in timestep.observation:
            spec.validate(observation)
        assert [array.shape for array in timestep[:3]] == [(2,)] * 3
        assert [array.dtype for array in timestep[:3]] == [np.int32, np.float32, np.float32]
    environment.close()


@every_module
def test_order_of_step_types_and_discounts(name):
    """FIRST comes after LAST and only there, with reward and discount 0; a MID may follow it."""
    environment = make_environment(name)
    timestep = environment.reset()
    assert (timestep.step_type == FIRST).all()
    assert not timestep.reward.any()
    assert not timestep.discount.any()
    num_episodes = 0
    for actions in draw_actions(environment, 250):
        is_first = timestep.step_type == LAST
        timestep = environment.step(actions)
        np.testing.assert_array_equal(timestep.step_type == FIRST, is_first)
        assert not timestep.reward[is_first].any()
        assert not timestep.discount[is_first].any()
        assert np.isin(timestep.discount, (0.0, 1.0)).all()
        num_episodes += timestep.last().sum()
    assert num_episodes >= 2
    environment.close()


@pytest.mark.parametrize(
    "name", ["atari_dqn_zoo", "atari_machado", "gymnasium", "probe_5", "environment_sequence"]
)
def test_action_after_last_is_ignored(name):
    """Runs whose actions differ only on the steps after a LAST are the same."""
    environment, twin = make_environment(name), make_environment(name)
    num_actions = environment.action_spec().num_values
    timestep = environment.reset()
    twin.reset()
    num_differing = 0
    for actions in draw_actions(environment, 250):
        is_last = timestep.last()
        timestep = environment.step(actions)
        num_differing += is_last.sum()
        assert_equal(
            [twin.step(np.where(is_last, (actions + 1) % num_actions, actions))], [timestep]
        )
    assert num_differing >= 2
    environment.close()
    twin.close()


@every_module
def test_returned_arrays_are_left_alone(name):
    """Later steps don't write into arrays that were handed out."""
    environment = make_environment(name)
    timesteps = [environment.reset()]
    copies = [dm_env.TimeStep(*(array.copy() for array in timesteps[0]))]
    for actions in draw_actions(environment, 120):
        timestep = environment.step(actions)
        timesteps.append(timestep)
        copies.append(dm_env.TimeStep(*(array.copy() for array in timestep)))
    assert_equal(timesteps, copies)
    environment.close()


@every_module
def test_caller_may_reuse_its_actions(name):
    """`send` keeps nothing of the array it is given."""
    environment, twin = make_environment(name), make_environment(name)
    environment.reset()
    twin.reset()
    for actions in draw_actions(environment, 50):
        expected = twin.step(actions.copy())
        environment.send(actions)
        actions[:] = 99
        assert_equal([environment.recv()], [expected])
    environment.close()
    twin.close()


@every_module
def test_invalid_actions_are_refused_before_they_do_harm(name):
    environment, twin = make_environment(name), make_environment(name)
    environment.reset()
    twin.reset()
    num_actions = environment.action_spec().num_values
    invalid = [
        np.array([0, num_actions]),
        np.array([-1, 0]),
        np.array([0.0, 0.0]),
        np.array([False, False]),
        np.zeros(3, np.int32),
        np.zeros((2, 1), np.int32),
        np.int32(0),
    ]
    for actions in invalid:
        with pytest.raises(ValueError, match="actions"):
            environment.send(actions)
    zeros = np.zeros(2, np.int32)
    assert_equal(play(environment, [zeros] * 3), play(twin, [zeros] * 3))
    environment.close()
    twin.close()


@every_module
def test_every_integer_type_will_do_for_actions(name):
    environment = make_environment(name)
    environment.reset()
    for dtype in (np.int8, np.uint8, np.int32, np.int64):
        assert environment.step(np.zeros(2, dtype)).step_type.shape == (2,)
    environment.close()


@every_module
def test_calls_out_of_order_raise(name):
    environment = make_environment(name)
    zeros = np.zeros(2, np.int32)
    with pytest.raises(RuntimeError, match="send before reset"):
        environment.send(zeros)
    with pytest.raises(RuntimeError, match="get_state before reset"):
        environment.get_state()
    environment.reset()
    with pytest.raises(RuntimeError, match="recv without a send"):
        environment.recv()
    environment.send(zeros)
    for call in (lambda: environment.send(zeros), environment.get_state, environment.reset):
        with pytest.raises(RuntimeError, match="between a send and its recv"):
            call()
    environment.recv()
    environment.close()
    with pytest.raises(RuntimeError, match="after close"):
        environment.send(zeros)


@every_module
def test_close_at_any_time(name):
    """Before a reset, while a step is under way, and twice; afterwards calls raise."""
    make_environment(name).close()
    environment = make_environment(name)
    environment.reset()
    environment.send(np.zeros(2, np.int32))
    environment.close()
    environment.close()
    for call in (environment.recv, environment.get_state):
        with pytest.raises(RuntimeError, match=r"recv without a send|after close"):
            call()


@every_module
def test_finished_episodes_add_up(name):
    """Returns are sums of the rewards seen, lengths the steps after the FIRST, in order."""
    environment = make_environment(name)
    environment.reset()
    returns, steps, expected, reported = np.zeros(2), np.zeros(2, int), [], []
    for t, actions in enumerate(draw_actions(environment, 250)):
        timestep = environment.step(actions)
        returns += timestep.reward
        steps += ~timestep.first()
        for env_id in np.flatnonzero(timestep.last()):
            length_frames = steps[env_id] * environment.frames_per_step
            expected.append(base.Episode(env_id, returns[env_id], length_frames))
            returns[env_id], steps[env_id] = 0.0, 0
        if t % 40 == 39:
            reported += environment.finished_episodes()
    reported += environment.finished_episodes()
    assert len(reported) >= 2
    assert reported == expected
    assert environment.finished_episodes() == []
    environment.close()


@every_module
def test_reset_begins_other_episodes_and_forgets_the_running_ones(name):
    environment, twin = make_environment(name), make_environment(name)
    environment.reset()
    play(environment, draw_actions(environment, 3))
    environment.finished_episodes()
    assert (environment.reset().step_type == FIRST).all()
    actions = draw_actions(environment, 250)
    timesteps = play(environment, actions)
    twin.reset()
    expected_length = next(t for t, s in enumerate(timesteps) if s.last()[0]) + 1
    lengths = [e.length_frames for e in environment.finished_episodes() if e.env_id == 0]
    assert lengths[0] == expected_length * environment.frames_per_step
    if name not in ("probe_1", "probe_3", "probe_4"):  # those have no chance in them
        with pytest.raises(AssertionError):
            assert_equal(timesteps, play(twin, actions))
    environment.close()
    twin.close()


@every_module
def test_environments_do_not_depend_on_their_number(name):
    """Environments 0 and 1 of three are environments 0 and 1 of two, over several episodes."""
    two, three = make_environment(name, 2), make_environment(name, 3)
    first = three.reset()
    assert_equal([two.reset()], [dm_env.TimeStep(*(array[:2] for array in first))])
    for actions in draw_actions(three, 200):
        timestep = three.step(actions)
        expected = dm_env.TimeStep(*(array[:2] for array in timestep))
        assert_equal([two.step(actions[:2])], [expected])
    two.close()
    three.close()


@pytest.mark.parametrize("name", ["atari_dqn_zoo", "atari_machado", "gymnasium", "probe_2"])
def test_environments_and_seeds_differ(name):
    """Two environments sent the same actions differ, and so do two seeds."""
    environment, other = make_environment(name, seed=7), make_environment(name, seed=8)
    actions = np.repeat(draw_actions(environment, 200)[:, :1], 2, axis=1)
    environment.reset()
    other.reset()
    timesteps, other_timesteps = play(environment, actions), play(other, actions)
    environment_0 = np.stack([t.observation[0] for t in timesteps])
    assert (environment_0 != np.stack([t.observation[1] for t in timesteps])).any()
    assert (environment_0 != np.stack([t.observation[0] for t in other_timesteps])).any()
    environment.close()
    other.close()


@every_module
@pytest.mark.parametrize("num_steps", [0, 100, 101, 180])
def test_set_state_continues(name, num_steps, tmp_path):
    """Exactly, episodes' returns included, or with new episodes where `exact_resume` is False.

    The Atari settings truncate after 100 or 75 steps: there, a LAST or FIRST is saved.
    """
    environment = make_environment(name)
    environment.reset()
    actions = draw_actions(environment, num_steps + 150)
    current = play(environment, actions[:num_steps])[-1] if num_steps else None
    np.savez(tmp_path / "state.npz", **environment.get_state())
    restored = make_environment(name)
    with np.load(tmp_path / "state.npz") as state:
        timestep = restored.set_state(state)
    if environment.exact_resume:
        if current is not None:
            assert_equal([timestep], [current])
        rest = actions[num_steps:]
        assert_equal(play(restored, rest), play(environment, rest))
        assert restored.finished_episodes() == environment.finished_episodes()
    else:
        assert (timestep.step_type == FIRST).all()
        assert restored.finished_episodes() == environment.finished_episodes()
    environment.close()
    restored.close()


@every_module
def test_state_does_not_change_when_the_environment_goes_on(name):
    environment = make_environment(name)
    environment.reset()
    play(environment, draw_actions(environment, 20))
    state = environment.get_state()
    copies = {key: array.copy() for key, array in state.items()}
    play(environment, draw_actions(environment, 150))
    assert all(isinstance(array, np.ndarray) for array in state.values())
    for key, array in state.items():
        np.testing.assert_array_equal(array, copies[key], err_msg=key)
    environment.close()


@every_module
def test_state_of_other_settings_is_refused(name):
    environment = make_environment(name, num_envs=2)
    environment.reset()
    other = make_environment(name, num_envs=3)
    with pytest.raises(ValueError, match="num_envs = 2, here 3"):
        other.set_state(environment.get_state())
    environment.close()
    other.close()


@pytest.mark.parametrize("module", [atari, gymnasium_vector, probes])
def test_unknown_key_is_refused(module):
    section = {**settings.to_config(module.Settings()).to_dict(), "colour": True}
    with pytest.raises(checks.ConfigError, match=r"^environment\.colour = True: unknown"):
        base.parse(section)


def test_unknown_module_is_refused():
    with pytest.raises(checks.ConfigError, match=r"environment\.module = 'doom'"):
        base.parse({"module": "doom"})
    with pytest.raises(checks.ConfigError, match=r"environment\.module is missing"):
        base.parse({"game": "pong"})


@pytest.mark.parametrize("name", plugins.names("envs"))
def test_every_module_tells_of_itself_without_being_built(name):
    """Of its defaults: frames of a step, its name, its tasks, and the specs that it then has."""
    chosen = plugins.find("envs", name, "environment.module").Settings()
    assert base.parse(settings.to_config(chosen)) == chosen
    environment = base.make(chosen, 1, 0)
    assert environment.frames_per_step == base.frames_per_step(chosen)
    observation, action = environment.observation_spec(), environment.action_spec()
    environment.close()
    assert base.make_specs(chosen) == (observation, action)
    assert base.task_name(chosen)
    if not base.is_sequence(chosen):
        assert base.tasks(chosen) == (chosen,)
        assert base.task(chosen, 7) is chosen
        assert base.frames_per_task(chosen) == 0
        return
    tasks = base.tasks(chosen)
    assert base.task(chosen, len(tasks) + 1) == tasks[1]
    assert base.frames_per_task(chosen) > 0
    key = base.frames_per_task_key(chosen).removeprefix("environment.")
    assert getattr(chosen, key) == base.frames_per_task(chosen)


def test_a_section_of_an_earlier_version_lacks_keys():
    """They have their defaults; what it has counts, and a key of then that is gone is left out."""
    recorded = {"module": "atari", "game": "qbert", "life_loss": True}
    assert base.parse_recorded(recorded) == atari.Settings(game="qbert")


def test_so_do_the_sections_of_environments_in_it():
    each = {"module": "labelled_images", "noise": 3}
    recorded = {"module": "task_stream", "each": each, "num_tasks": 5}
    expected = task_stream.Settings(each=labelled_images.Settings(), num_tasks=5)
    assert base.parse_recorded(recorded) == expected


def test_environment_seeds_are_all_different_and_fit_an_int32():
    seeds = [base.environment_seed(s, i, n) for s in range(4) for i in range(16) for n in range(16)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0
    assert max(seeds) < 2**31
