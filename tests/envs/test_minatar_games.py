"""Permuted MinAtar: the package is optional, and most of this is skipped without it."""

import importlib.util
import sys

import gymnasium
import numpy as np
import pytest

from configs import minatar_stream
from core import checks
from envs import base, environment_sequence, gymnasium_vector, minatar_games
from training import derived, run_settings

_IS_INSTALLED = importlib.util.find_spec("minatar") is not None
needs_it = pytest.mark.skipif(
    not _IS_INSTALLED, reason="MinAtar is not installed: pip install -e '.[minatar]'"
)


def _settings(**kwargs):
    name = "envs.minatar_games:PermutedMinAtar-v0"
    return gymnasium_vector.Settings(id=name, kwargs=kwargs)


def test_the_tasks_have_names_of_their_own_by_which_all_can_be_evaluated():
    config = minatar_stream.get_config()
    config.evaluation.all_games = True
    parsed = run_settings.parse(derived.resolve(config))
    names = [base.task_name(task) for task in base.tasks(parsed.environment)]
    assert names[0] == "envs.minatar_games:PermutedMinAtar-v0_game=breakout_task=0"
    assert len(set(names)) == len(names) == 9


def test_tasks_of_one_name_can_not_all_be_evaluated_by_it():
    config = minatar_stream.get_config()
    config.evaluation.all_games = True
    tasks = [{"module": "cartpole"}, {"module": "cartpole", "shift": 3.0}]
    config.environment.environments = tasks
    with pytest.raises(checks.ConfigError, match=r"all_games = True: expected False, as different"):
        run_settings.parse(derived.resolve(config))


def test_a_task_is_the_same_permutation_in_all_runs_and_the_first_is_none():
    channels, actions = minatar_games.permutations(0)
    np.testing.assert_array_equal(channels, np.arange(10))
    np.testing.assert_array_equal(actions, np.arange(6))
    for task in (1, 2):
        channels, actions = minatar_games.permutations(task)
        assert (sorted(channels), sorted(actions)) == (list(range(10)), list(range(6)))
        np.testing.assert_array_equal(channels, minatar_games.permutations(task)[0])
    assert (minatar_games.permutations(1)[0] != minatar_games.permutations(2)[0]).any()


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "minatar", None)
    with pytest.raises(checks.ConfigError, match=r"not installed: .*\[minatar\]"):
        base.make(_settings(game="breakout"), 1, 0)


def test_another_game_is_refused():
    with pytest.raises(ValueError, match="game = 'pong': expected one of asterix, breakout"):
        minatar_games.PermutedMinAtar("pong")


def test_the_config_visits_three_games_three_times():
    config = minatar_stream.get_config("c51:nap")
    sections = config.environment.environments
    assert [x["kwargs"]["task"] for x in sections] == list(range(9))
    assert [x["kwargs"]["game"] for x in sections[:4]] == [
        "breakout",
        "asterix",
        "space_invaders",
        "breakout",
    ]
    with pytest.raises(checks.ConfigError, match="arm = 'nap_schedule'"):
        minatar_stream.get_config("c51:nap_schedule")


@needs_it
@pytest.mark.parametrize("game", minatar_games.GAMES)
def test_a_permuted_game_is_the_game_under_other_names(game):
    first, other = (minatar_games.PermutedMinAtar(game, task) for task in (0, 3))
    channels, actions = minatar_games.permutations(3)
    seen, permuted = (environment.reset(seed=5)[0] for environment in (first, other))
    random = np.random.RandomState(0)
    for _ in range(300):
        np.testing.assert_array_equal(permuted, seen[channels])
        assert set(np.unique(seen)) <= {0, 255}
        action = random.randint(6)
        seen, *ours = first.step(int(actions[action]))
        permuted, *theirs = other.step(action)
        assert ours == theirs
        if ours[1]:
            seen, permuted = first.reset()[0], other.reset()[0]


@needs_it
def test_games_follow_each_other():
    sections = tuple(
        {"module": "gymnasium_vector", "id": _settings().id, "kwargs": {"game": game, "task": i}}
        for i, game in enumerate(("breakout", "asterix"))
    )
    chosen = environment_sequence.Settings(environments=sections)
    environment = base.make(chosen, 2, 0)
    assert environment.observation_spec().shape == (10, 10, 10)
    assert environment.action_spec().num_values == 6
    for timestep in (environment.reset(), environment.next_task()):
        assert timestep.observation.shape == (2, 10, 10, 10)
        assert timestep.observation.any()
    environment.close()


@needs_it
def test_an_episode_without_an_end_is_cut():
    environment = gymnasium.make(_settings().id, game="freeway")
    environment.reset(seed=0)
    assert environment.spec is not None
    assert environment.spec.max_episode_steps == 5_000
