"""Atari environments against independent implementations, frame by frame, and exact resume."""

import os
import pathlib
import subprocess
import sys

import ale_py
import cv2
import dm_env
import gymnasium
import numpy as np
import pytest
from ale_py import roms, vector_env
from gymnasium import wrappers

from core import checks, settings
from envs import atari, atari_games, base

FIRST, MID, LAST = dm_env.StepType
REPOSITORY = pathlib.Path(__file__).parents[2]


def make_environment(game, protocol="dqn_zoo", num_envs=1, seed=3, **overrides):
    chosen = atari.Settings(game=game, protocol=protocol, **overrides)
    return base.make(chosen, num_envs, seed)


def draw_actions(environment, num_steps, seed=0):
    num_actions = environment.action_spec().num_values
    rng = np.random.default_rng(seed)
    return rng.integers(num_actions, size=(num_steps, environment.num_envs))


def make_ale(game, num_envs, **arguments):
    """ALE's own vector environment, with its own stack of four frames."""
    return vector_env.AtariVectorEnv(
        game, num_envs, reward_clipping=False, use_fire_reset=False, **arguments
    )


def push(stack, frame, is_first):
    """The last four frames with the newest appended, zeros before an episode's first frame."""
    old = np.zeros_like(stack) if is_first else stack
    return np.concatenate([old[1:], frame[None]])


class RawGame:
    """One game by ALEInterface alone: what a step is, written down frame by frame.

    On a step that ends before its fourth frame, frames that were not rendered keep what
    they last held, as in ALE's and Gymnasium's preprocessing.
    """

    def __init__(self, game, seed, max_frames=108_000):
        self.ale = ale_py.ALEInterface()
        self.ale.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale.setFloat("repeat_action_probability", 0.0)
        self.ale.setInt("random_seed", seed)
        self.ale.loadROM(roms.get_rom_path(game))
        self.actions = self.ale.getMinimalActionSet()
        self.max_frames = max_frames

    def reset(self, num_noops):
        self.ale.reset_game()
        for _ in range(num_noops):
            self.ale.act(ale_py.Action.NOOP)
        self.frames = 0
        self.lives = self.ale.lives()
        self.screens = [self.ale.getScreenGrayscale(), None]
        return self._shrink(self.screens[0])

    def step(self, action):
        """Returns the frame, reward, discount and whether the episode is over."""
        reward = 0
        is_over = False
        for skipped in range(4):
            reward += self.ale.act(self.actions[action])
            self.frames += 1
            is_over = self.ale.game_over() or self.frames >= self.max_frames
            if is_over:
                break
            if skipped >= 2:
                self.screens[3 - skipped] = self.ale.getScreenGrayscale()
        self.screens[0] = np.maximum(self.screens[0], self.screens[1])
        is_life_lost = self.ale.lives() < self.lives
        self.lives = self.ale.lives()
        discount = 0.0 if self.ale.game_over() or is_life_lost else 1.0
        return self._shrink(self.screens[0]), reward, discount, is_over

    @staticmethod
    def _shrink(screen):
        return cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA)


# Alien's lives stay above 0 at the game over; Pong reports none.
@pytest.mark.parametrize("game", ["breakout", "pong", "ms_pacman", "seaquest", "alien"])
def test_dqn_zoo_protocol_step_by_step(game):
    """Frames, rewards, discounts and ends are those of the game played frame by frame."""
    environment = make_environment(game)
    seed = base.environment_seed(3, 0)
    raw = RawGame(game, seed)
    # Plays along to tell the number of no-ops, which ALE draws and nobody else can know.
    noops = make_ale(game, 1, noop_max=31)
    _, info = noops.reset(seed=np.array([seed]))
    timestep = environment.reset()
    np.testing.assert_array_equal(timestep.observation[0], raw.reset(info["frame_number"][0]))
    num_ends = num_life_losses = 0
    for actions in draw_actions(environment, 1500):
        is_first = timestep.last()[0]
        timestep = environment.step(actions)
        *_, info = noops.step(actions)
        if is_first:
            frame = raw.reset(info["episode_frame_number"][0])
            reward, discount, is_over, step_type = 0.0, 0.0, False, FIRST
        else:
            frame, reward, discount, is_over = raw.step(actions[0])
            step_type = LAST if is_over else MID
        np.testing.assert_array_equal(timestep.observation[0], frame)
        assert timestep.reward[0] == reward
        assert timestep.discount[0] == discount
        assert timestep.step_type[0] == step_type
        num_ends += is_over
        num_life_losses += step_type == MID and discount == 0.0
    assert num_ends >= 1
    assert (num_life_losses == 0) == (game == "pong")
    environment.close()


@pytest.mark.parametrize("game", ["breakout", "pong", "ms_pacman", "seaquest"])
def test_machado_protocol_equals_gymnasium(game):
    """Gymnasium's preprocessing and frame stack give the same game, sticky actions included."""
    environment = make_environment(game, "machado")
    camel_case = "".join(word.capitalize() for word in game.split("_"))
    gymnasium.register_envs(ale_py)
    single = gymnasium.make(
        f"ALE/{camel_case}-v5", frameskip=1, repeat_action_probability=0.25, full_action_space=True
    )
    # Gymnasium derives ALE's seed from its own: set it directly, as a seeded reset would.
    unwrapped = single.unwrapped
    assert isinstance(unwrapped, ale_py.AtariEnv)
    unwrapped.ale.setInt("random_seed", base.environment_seed(3, 0))
    unwrapped.load_game()
    single = wrappers.AtariPreprocessing(single, noop_max=0, frame_skip=4, screen_size=84)
    single = wrappers.FrameStackObservation(single, 4, padding_type="zero")
    timestep = environment.reset()
    expected_stack, _ = single.reset()
    stack = push(np.zeros((4, 84, 84), np.uint8), timestep.observation[0], is_first=True)
    np.testing.assert_array_equal(stack, expected_stack)
    num_ends = 0
    for actions in draw_actions(environment, 1500):
        is_first = timestep.last()[0]
        timestep = environment.step(actions)
        if is_first:
            expected_stack, _ = single.reset()
            reward, is_over, discount = 0.0, False, 0.0
        else:
            expected_stack, reward, is_over, _, _ = single.step(actions[0])
            discount = 1.0 - is_over
        stack = push(stack, timestep.observation[0], is_first)
        np.testing.assert_array_equal(stack, expected_stack)
        assert timestep.reward[0] == reward
        assert timestep.last()[0] == is_over
        assert timestep.discount[0] == discount
        num_ends += is_over
    assert num_ends >= 1
    environment.close()


def test_stacked_newest_frames_equal_ales_own_stack():
    """Over several environments, episodes and truncations, with zeros before an episode's start."""
    environment = make_environment("breakout", num_envs=3, max_episode_frames=500)
    ale = make_ale("breakout", 3, noop_max=31, max_num_frames_per_episode=500)
    seeds = np.array([base.environment_seed(3, env_id) for env_id in range(3)])
    expected, _ = ale.reset(seed=seeds)
    timestep = environment.reset()
    stacks = np.zeros((3, 4, 84, 84), np.uint8)
    num_first = 0
    for actions in draw_actions(environment, 400):
        for env_id in range(3):
            is_first = timestep.first()[env_id]
            stacks[env_id] = push(stacks[env_id], timestep.observation[env_id], is_first)
            num_first += is_first
        np.testing.assert_array_equal(stacks, expected)
        timestep = environment.step(actions)
        expected, *_ = ale.step(actions)
    assert num_first >= 6
    environment.close()


def test_truncation_is_last_with_discount_one():
    """A cap of 400 frames ends the episode on step 100, whatever the number of no-ops."""
    environment = make_environment("pong", num_envs=3, max_episode_frames=400)
    environment.reset()
    zeros = np.zeros(3, int)
    timesteps = [environment.step(zeros) for _ in range(202)]
    for t, timestep in enumerate(timesteps):
        expected = LAST if t in (99, 200) else FIRST if t in (100, 201) else MID
        assert (timestep.step_type == expected).all(), t
        assert (timestep.discount == (expected != FIRST)).all(), t
    lengths = [episode.length_frames for episode in environment.finished_episodes()]
    assert lengths == [400] * 6
    environment.close()


def test_truncation_on_the_step_of_a_life_loss():
    """The life's value ends (discount 0), and so does the episode: a FIRST follows.

    ALE with life_loss_info reports this step as a mere life loss, then resets unannounced.
    """
    environment = make_environment("breakout")
    environment.reset()
    actions = draw_actions(environment, 200)
    discounts = [environment.step(row).discount[0] for row in actions]
    loss = discounts.index(0.0)
    environment.close()
    environment = make_environment("breakout", max_episode_frames=4 * (loss + 1))
    environment.reset()
    timesteps = [environment.step(row) for row in actions[: loss + 2]]
    assert [t.step_type[0] for t in timesteps] == [MID] * loss + [LAST, FIRST]
    assert timesteps[loss].discount[0] == 0.0
    assert timesteps[loss - 1].discount[0] == 1.0
    environment.close()


@pytest.mark.parametrize(("protocol", "expected"), [("dqn_zoo", range(31)), ("machado", [0])])
def test_number_of_noops(protocol, expected):
    """The dqn_zoo protocol starts after 0 to 30 no-ops, each number equally likely; machado: none.

    Of 620 draws each number is due 20 times; fewer than 4 has a probability below 1e-5.
    """
    environment = make_environment("pong", protocol, num_envs=4)
    emulators = environment._emulators  # the frame counter is not part of the contract
    emulators.reset(seed=np.arange(4))
    counts = [emulators.reset()[1]["episode_frame_number"] for _ in range(155)]
    numbers, occurrences = np.unique(counts, return_counts=True)
    assert numbers.tolist() == list(expected)
    assert occurrences.min() >= 4
    environment.close()


def test_action_sets():
    """Minimal under dqn_zoo, all 18 under machado, unless the config says otherwise."""
    for protocol, full_action_space, expected in [
        ("dqn_zoo", None, 4),
        ("machado", None, 18),
        ("dqn_zoo", True, 18),
        ("machado", False, 4),
    ]:
        environment = make_environment("breakout", protocol, full_action_space=full_action_space)
        assert environment.action_spec().num_values == expected
        environment.close()


def test_number_of_threads_does_not_matter():
    one, two = (make_environment("breakout", "machado", 3, num_threads=n) for n in (1, 2))
    one.reset()
    two.reset()
    for actions in draw_actions(one, 100):
        np.testing.assert_array_equal(one.step(actions).observation, two.step(actions).observation)
    one.close()
    two.close()


def test_list_of_games():
    assert len(atari_games.ATARI_57) == len(set(atari_games.ATARI_57)) == 57
    assert set(atari_games.ATARI_57) <= set(roms.get_all_rom_ids())


@pytest.mark.slow
@pytest.mark.parametrize("game", atari_games.ATARI_57)
def test_every_game_runs_and_resumes(game):
    """Each of the 57 can be made, shows a changing picture, and comes back exactly.

    The log of 200 steps covers what a replay depends on: sticky actions, resets and truncations.
    """
    changes = {"protocol": "machado", "num_envs": 2, "max_episode_frames": 600}
    environment = make_environment(game, **changes)
    first = environment.reset()
    actions = draw_actions(environment, 240)
    timesteps = [environment.step(row) for row in actions[:200]]
    assert any((t.observation != first.observation).any() for t in timesteps)
    restored = make_environment(game, **changes)
    restored.set_state(environment.get_state())
    for row in actions[200:]:
        for array, expected in zip(restored.step(row), environment.step(row)):
            np.testing.assert_array_equal(array, expected)
    environment.close()
    restored.close()


CONTINUE = """
import sys
import numpy as np
from envs import atari, base

directory, game, reseed_steps = sys.argv[1:]
chosen = atari.Settings(game=game, protocol="machado", reseed_steps=int(reseed_steps))
environment = base.make(chosen, 3, 3)
with np.load(f"{directory}/state.npz") as state:
    environment.set_state(state)
steps = [environment.step(row) for row in np.load(f"{directory}/actions.npy")]
fields = {name: np.stack(arrays) for name, arrays in zip(steps[0]._fields, zip(*steps))}
np.savez(f"{directory}/steps.npz", **fields)
"""


@pytest.mark.parametrize(("game", "reseed_steps"), [("breakout", 250), ("qbert", 300)])
def test_exact_resume_in_a_new_process(game, reseed_steps, tmp_path):
    """After reseeds, with logs of unequal lengths and sticky actions, and through more reseeds."""
    environment = make_environment(game, "machado", 3, reseed_steps=reseed_steps)
    environment.reset()
    actions = draw_actions(environment, 1600)
    for row in actions[:800]:
        environment.step(row)
    state = environment.get_state()
    assert state["seed_counts"].min() >= 2
    assert len(set(state["action_log_starts"])) == 3
    np.savez(tmp_path / "state.npz", **state)
    np.save(tmp_path / "actions.npy", actions[800:])
    subprocess.run(
        [sys.executable, "-c", CONTINUE, str(tmp_path), game, str(reseed_steps)],
        check=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    with np.load(tmp_path / "steps.npz") as file:
        steps = dict(file)
        for t, row in enumerate(actions[800:]):
            for name, array in environment.step(row)._asdict().items():
                np.testing.assert_array_equal(array, steps[name][t], err_msg=f"{name} {t}")
    assert (environment.get_state()["seed_counts"] > state["seed_counts"]).all()
    environment.close()


def test_exact_resume_on_the_steps_around_a_reseed():
    """Saved on the LAST before it, on the reseeded FIRST (an empty log), and on the step after."""
    environment = make_environment("breakout", "machado", 2, reseed_steps=100)
    environment.reset()
    actions = draw_actions(environment, 600)
    states, counts = [], []
    for row in actions:
        environment.step(row)
        states.append(environment.get_state())
        counts.append(states[-1]["seed_counts"].tolist())
    reseed = counts.index([2, 1]) if [2, 1] in counts else counts.index([1, 2])
    assert len(states[reseed]["action_log"]) == states[reseed]["action_log_starts"].max()
    for t in (reseed - 1, reseed, reseed + 1):
        restored = make_environment("breakout", "machado", 2, reseed_steps=100)
        restored.set_state(states[t])
        for s in range(t + 1, t + 150):
            timestep = restored.step(actions[s])
            np.testing.assert_array_equal(timestep.observation, states[s]["observation"])
            np.testing.assert_array_equal(timestep.step_type, states[s]["step_type"])
        restored.close()
    environment.close()


def test_reseed_starts_the_named_seed_and_leaves_other_environments_alone():
    """The FIRST after the log is full is that of a fresh emulator with the environment's next seed.

    Compared with an environment that is not reseeded: equal until each environment's first FIRST.
    """
    reseeded = make_environment("breakout", "machado", 3, reseed_steps=1)
    steady = make_environment("breakout", "machado", 3)
    fresh = make_ale("breakout", 3, noop_max=1, stack_num=1, repeat_action_probability=0.25,
                     full_action_space=True)  # fmt: skip
    seeds = np.array([base.environment_seed(3, env_id, 1) for env_id in range(3)])
    fresh_frames = [fresh.reset(seed=seeds)[0][:, 0]]
    reseeded.reset()
    steady.reset()
    actions = draw_actions(reseeded, 500)
    timesteps = [reseeded.step(row) for row in actions]
    steady_timesteps = [steady.step(row) for row in actions]
    starts = [next(t for t, s in enumerate(timesteps) if s.first()[env_id]) for env_id in range(3)]
    assert len(set(starts)) == 3
    for env_id, start in enumerate(starts):
        for t in range(start):
            for array, expected in zip(timesteps[t], steady_timesteps[t]):
                np.testing.assert_array_equal(array[env_id], expected[env_id])
    for s in range(1, 100):
        row = np.array([actions[start + s, env_id] for env_id, start in enumerate(starts)])
        fresh_frames.append(fresh.step(row)[0][:, 0])
    for env_id, start in enumerate(starts):
        for s in range(100):
            frame = timesteps[start + s].observation[env_id]
            np.testing.assert_array_equal(frame, fresh_frames[s][env_id])
    reseeded.close()
    steady.close()


def test_reseeded_first_shows_the_new_seeds_noops():
    """Freeway's cars move from the first frame on: the picture tells the number of no-ops."""
    changes = {"num_envs": 3, "max_episode_frames": 40}
    reseeded = make_environment("freeway", reseed_steps=1, **changes)
    steady = make_environment("freeway", **changes)
    seeds = np.array([base.environment_seed(3, env_id, 1) for env_id in range(3)])
    expected, _ = make_ale("freeway", 3, noop_max=31, stack_num=1).reset(seed=seeds)
    reseeded.reset()
    steady.reset()
    for _ in range(11):
        timestep, steady_timestep = (e.step(np.zeros(3, int)) for e in (reseeded, steady))
    assert (timestep.step_type == FIRST).all()
    np.testing.assert_array_equal(timestep.observation, expected[:, 0])
    assert (timestep.observation != steady_timestep.observation).any(axis=(1, 2)).all()
    reseeded.close()
    steady.close()


def test_log_stays_short():
    """Rows of actions that no environment needs are dropped."""
    environment = make_environment("breakout", num_envs=3, max_episode_frames=200, reseed_steps=60)
    environment.reset()
    lengths = []
    for row in draw_actions(environment, 500):
        environment.step(row)
        lengths.append(len(environment.get_state()["action_log"]))
    # Episodes take at most 50 steps and one to begin the next: a log ends before 60 + 51 steps.
    assert 60 <= max(lengths) < 60 + 51
    environment.close()


def test_a_replay_that_goes_wrong_is_noticed():
    environment = make_environment("breakout", num_envs=2)
    environment.reset()
    for row in draw_actions(environment, 60):
        environment.step(row)
    state = environment.get_state()
    state["seeds"][1] += 1  # other no-ops, another frame
    with pytest.raises(RuntimeError, match=r"environments \[1\] did not come back"):
        environment.set_state(state)
    environment.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("game", "breakout"), ("protocol", "machado"), ("max_episode_frames", 400),
     ("full_action_space", True), ("reseed_steps", 50)],
)  # fmt: skip
def test_state_of_other_settings_is_refused(name, value):
    environment = make_environment("pong")
    environment.reset()
    other = make_environment(**{"game": "pong", name: value})
    with pytest.raises(ValueError, match=f"other settings: .*{name} = "):
        other.set_state(environment.get_state())
    environment.close()
    other.close()


@pytest.mark.parametrize(
    ("game", "suggestion"),
    [("MsPacman", "ms_pacman"), ("brekout", "breakout"), ("quake3", "pong"), ("joust", "")],
)
def test_unknown_game_is_refused_with_a_suggestion(game, suggestion):
    with pytest.raises(checks.ConfigError, match=f"'{game}': unknown game; .*{suggestion}"):
        make_environment(game)


@pytest.mark.parametrize(
    ("key", "value"),
    [("protocol", "nature"), ("max_episode_frames", 0), ("full_action_space", "all"),
     ("num_threads", -1), ("reseed_steps", 0)],
)  # fmt: skip
def test_bad_values_are_refused(key, value):
    section = {**settings.to_config(atari.Settings()).to_dict(), key: value}
    with pytest.raises(checks.ConfigError, match=f"^environment.{key} = {value!r}: expected"):
        base.parse(section)
