"""Games one after the other: what happens at a change of game, and that nothing else does."""

import dm_env
import numpy as np
import pytest
from ale_py import roms

from core import checks
from envs import atari, atari_games, base, game_sequence
from tests.envs import playing
from tests.envs.playing import assert_equal
from tests.envs.playing import play_randomly as play

FIRST, MID, LAST = dm_env.StepType
GAMES = ("breakout", "qbert", "pong")


def make_settings(**overrides):
    return game_sequence.Settings(**{"games": GAMES, "max_episode_frames": 400, **overrides})


def make_sequence(num_envs=2, seed=3, **overrides):
    return base.make(make_settings(**overrides), num_envs, seed)


def test_leaving_a_game_truncates_all_environments_and_the_next_step_begins_another():
    sequence = make_sequence()
    sequence.reset()
    last = play(sequence, 30)[-1]
    assert (last.step_type == MID).all()
    left = sequence.next_task()
    assert (left.step_type == LAST).all()
    assert (left.discount == 1).all()
    np.testing.assert_array_equal(left.observation, last.observation)
    np.testing.assert_array_equal(left.reward, last.reward)
    assert sequence.task == 1
    first = sequence.step(np.zeros(2, np.int32))
    assert (first.step_type == FIRST).all()
    assert not first.reward.any()
    assert (play(sequence, 1)[0].step_type == MID).all()
    sequence.close()


def test_a_game_is_the_same_whatever_was_played_before():
    """The second game after 50 steps of the first is the second game after one step of it."""
    long, short = make_sequence(), make_sequence()
    for sequence, num_steps in ((long, 50), (short, 1)):
        sequence.reset()
        play(sequence, num_steps, seed=num_steps)
        sequence.next_task()
    assert_equal(play(long, 200), play(short, 200))
    long.close()
    short.close()


def test_a_game_of_the_sequence_is_the_game_alone():
    """Same frames and rewards as AtariEnvironment's, with 18 actions and the game's own seed."""
    sequence = make_sequence()
    timesteps = [sequence.reset(), *play(sequence, 150)]
    game = base.task(make_settings(), 0)
    assert game.game == "breakout"
    alone = base.make(game, 2, sequence._present._seed)
    assert alone.action_spec().num_values == 18
    assert_equal(timesteps, [alone.reset(), *play(alone, 150)])
    sequence.close()
    alone.close()


def test_the_first_game_comes_again_with_other_seeds():
    sequence = make_sequence()
    seeds = []
    for _ in range(4):
        sequence.reset()
        seeds += sequence._present.get_state()["seeds"].tolist()
        sequence.next_task()
    assert sequence.task == 4
    assert len(set(seeds)) == 8
    assert sequence.step(np.zeros(2, np.int32)).first().all()
    assert sequence._present._settings["game"] == GAMES[4 % 3]
    sequence.close()


def test_an_episode_that_ends_on_the_last_step_keeps_its_end_and_is_reported():
    """Under a cap of 400 frames the 100th step is a truncation, the 101st a FIRST."""
    sequence = make_sequence(protocol="machado", max_episode_frames=400)
    sequence.reset()
    timesteps = play(sequence, 100)
    assert (timesteps[-1].step_type == LAST).all()
    sequence.next_task()
    reported = sequence.finished_episodes()
    assert [(e.env_id, e.length_frames) for e in reported] == [(0, 400), (1, 400)]
    sequence.step(np.zeros(2, np.int32))
    assert sequence.finished_episodes() == []
    sequence.close()


def test_a_termination_on_the_last_step_stays_one():
    sequence = make_sequence(num_envs=1, max_episode_frames=108_000)
    sequence.reset()
    timestep, rng = None, np.random.default_rng(0)
    while timestep is None or not timestep.last()[0]:
        timestep = sequence.step(rng.integers(18, size=1))
    assert sequence.next_task().discount[0] == timestep.discount[0] == 0
    sequence.close()


def test_an_environment_that_begins_on_the_last_step_has_an_episode_without_steps():
    sequence = make_sequence(protocol="machado", max_episode_frames=400)
    sequence.reset()
    assert (play(sequence, 101)[-1].step_type == FIRST).all()
    left = sequence.next_task()
    assert (left.step_type == LAST).all()
    assert (left.discount == 1).all()
    assert len(sequence.finished_episodes()) == 2
    sequence.close()


def test_cut_episodes_are_not_reported():
    sequence = make_sequence()
    sequence.reset()
    play(sequence, 30)
    sequence.next_task()
    play(sequence, 30)
    assert sequence.finished_episodes() == []
    sequence.close()


@pytest.mark.parametrize("num_steps", [1, 99, 100, 101])
@pytest.mark.parametrize("steps_after", [None, 0, 1, 40])
def test_set_state_continues_around_a_change_of_game(num_steps, steps_after, tmp_path):
    """Saved while the game is being left (0), or so many steps into the next one."""
    playing.check_sequence_continues(
        make_sequence(),
        make_sequence(),
        tmp_path / "state.npz",
        num_steps,
        steps_after,
        num_more=130,
    )


def test_state_of_another_sequence_is_refused():
    sequence, other = make_sequence(), make_sequence(games=("qbert", "pong"))
    sequence.reset()
    with pytest.raises(ValueError, match="games ="):
        other.set_state(sequence.get_state())
    sequence.close()
    other.close()


def test_tasks_out_of_turn_are_refused():
    sequence = make_sequence()
    with pytest.raises(RuntimeError, match="next_task before reset"):
        sequence.next_task()
    sequence.reset()
    sequence.send(np.zeros(2, np.int32))
    with pytest.raises(RuntimeError, match="between a send and its recv"):
        sequence.next_task()
    sequence.recv()
    sequence.next_task()
    with pytest.raises(RuntimeError, match="twice"):
        sequence.next_task()
    single = base.make(atari.Settings(), 1, 0)
    with pytest.raises(RuntimeError, match="no other task"):
        single.next_task()
    sequence.close()
    single.close()


@pytest.mark.parametrize(
    ("games", "message"),
    [
        ((), r"games = \[\]: expected at least one"),
        (("breakout", "pogn"), "games = 'pogn': unknown game.*pong"),
        (("pong", "pong", "qbert"), "'pong' twice in a row"),
        (("pong", "qbert", "pong"), "'pong' twice in a row"),
    ],
)
def test_bad_lists_of_games_are_refused(games, message):
    with pytest.raises(checks.ConfigError, match=message):
        make_settings(games=games)


def test_one_game_may_be_a_sequence():
    chosen = make_settings(games=("pong",))
    assert len(base.tasks(chosen)) == 1
    base.make(chosen, 1, 0).close()


def test_a_task_alone_keeps_the_protocol():
    """Of any number: after the last game the first comes again."""
    chosen = game_sequence.Settings(
        games=("atari_10",), protocol="machado", max_episode_frames=1000
    )
    single = base.task(chosen, 13)
    assert single == atari.Settings(
        game="kung_fu_master",
        protocol="machado",
        max_episode_frames=1000,
        full_action_space=True,
    )
    assert base.task_name(single) == game_sequence.PRESETS["atari_10"][3] == "kung_fu_master"
    assert base.task_name(chosen) == "10_games_of_20000000_frames"
    assert base.frames_per_task(chosen) == 20_000_000


S_ALE_10 = (
    "alien", "atlantis", "boxing", "breakout", "centipede",
    "double_dunk", "freeway", "pong", "space_invaders", "tennis",
)  # fmt: skip


def test_a_preset_stands_for_its_games_in_their_order():
    """The default: ten games that there are, as Abbas et al. 2023 list them."""
    assert game_sequence.Settings().all_games == S_ALE_10
    assert set(S_ALE_10) <= set(roms.get_all_rom_ids())
    assert [task.game for task in base.tasks(game_sequence.Settings())] == list(S_ALE_10)
    assert game_sequence.PRESETS["s_ale_5"] == S_ALE_10[:5]


@pytest.mark.parametrize("preset", game_sequence.PRESETS)
def test_every_preset_is_of_games_of_the_benchmark(preset):
    games = game_sequence.PRESETS[preset]
    assert set(games) <= set(atari_games.ATARI_57)
    assert len(set(games)) == len(games)


def test_presets_mix_with_names():
    chosen = game_sequence.Settings(games=("qbert", "s_ale_5", "pong"))
    assert chosen.all_games == ("qbert", *S_ALE_10[:5], "pong")
    with pytest.raises(checks.ConfigError, match="'alien' twice in a row"):
        game_sequence.Settings(games=("alien", "s_ale_5"))
    with pytest.raises(checks.ConfigError, match=r"'s_ale_6'"):
        game_sequence.Settings(games=("s_ale_6",))
