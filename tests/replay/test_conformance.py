"""The replay contract (replay/base.py), asked of every backend.

A backend joins by one more entry of ON_DEVICE, or of PRIORITIZED. What the contract leaves open is
left open here: how long before it is overwritten a transition is dropped, whether the tail of an
episode that has ended waits for its n steps, and the type of the keys. "reverb" needs the replay
server's environment: make replay-env.
"""

import functools
import types
from typing import NamedTuple

import jax
import numpy as np
import pytest
from dm_env import specs
from scipy import stats

from replay import base, importance
from replay.device import prioritized, uniform
from replay.reverb import wire
from tests.replay.reverb import replay_server
from tests.replay.reverb import reverb_replay as reverb_backend

FRAME = specs.BoundedArray((2, 2), np.uint8, 0, 255, name="observation")
VECTOR = specs.Array((3,), np.float32, name="observation")
BATCH = 256


def make_on_device(
    module, capacity, num_envs, frame_stack, n_step, discount, priority_exponent, uniform_mix
):
    observation = FRAME if frame_stack else VECTOR
    spec = base.TransitionSpec(observation, num_envs, frame_stack, n_step, discount)
    section = {"capacity": capacity, "min_size": 1}
    if module is prioritized:
        section |= {"priority_exponent": priority_exponent, "uniform_mix": uniform_mix}
    replay = module.make(module.Settings(**section), spec)
    return types.SimpleNamespace(
        init=jax.jit(replay.init),
        add=jax.jit(replay.add),
        num_added=jax.jit(replay.num_added),
        size=jax.jit(replay.size),
        sample=jax.jit(replay.sample, static_argnums=2),
        sample_uniform=jax.jit(replay.sample_uniform, static_argnums=2),
        update_priorities=jax.jit(replay.update_priorities),
        cut=jax.jit(replay.cut),
        clear=jax.jit(replay.clear),
    )


@functools.cache
def build_on_device(module, **settings):
    """Pure functions of a state, so tests of equal settings can share them."""
    return make_on_device(module, **settings)


def spec_of(settings):
    return FRAME if settings["frame_stack"] else VECTOR


@pytest.fixture
def make_reverb(request):
    """(settings by name) -> a replay on the session's server, closed with the test."""
    opened = []

    def make(*, capacity, **settings):
        client = wire.Client(request.getfixturevalue("server").address)
        table = replay_server.transitions_table(capacity)
        replay = reverb_backend.ReverbReplay(
            client, table, spec_of(settings), capacity=capacity, **settings
        )
        opened.append((replay, client))
        return replay

    yield make
    for replay, client in opened:
        replay.close()
        client.close()


ON_DEVICE = {"ring": prioritized, "uniform": uniform}
PRIORITIZED = ["ring", pytest.param("reverb", marks=replay_server.needs_server)]


@pytest.fixture(params=[*PRIORITIZED, "uniform"])
def make_replay(request):
    """(settings by name) -> a replay, ready to be called; without priorities it ignores theirs."""
    return maker_of(request)


@pytest.fixture(params=PRIORITIZED)
def make_prioritized(request):
    """The same of a replay with priorities."""
    return maker_of(request)


def maker_of(request):
    if request.param in ON_DEVICE:
        build = functools.partial(build_on_device, ON_DEVICE[request.param])
    else:
        build = request.getfixturevalue("make_reverb")

    def make(**changes):
        settings = {
            "num_envs": 1,
            "capacity": 40,
            "frame_stack": 0,
            "n_step": 3,
            "discount": 0.5,
            "priority_exponent": 0.5,
            "uniform_mix": 0.0,
        }
        return build(**{**settings, **changes})

    return make


class EnvironmentStep(NamedTuple):
    """One step of one environment. A step's place is its row, counted from the start of the run."""

    row: int
    observation: np.ndarray
    reward: float
    discount: float
    action: int


class Found(NamedTuple):
    """A transition as the replay gave it."""

    key: int
    probability: float
    transition: base.Transition


class Model:
    """What a replay should hold: each environment's episodes, as plain lists of their steps."""

    def __init__(self, num_envs, frame_stack, n_step, discount):
        self.episodes = [[] for _ in range(num_envs)]
        self.ended = [[] for _ in range(num_envs)]
        self.frame_stack, self.n_step, self.discount = frame_stack, n_step, discount

    def add(self, env_id, step, is_first, is_last):
        if is_first:
            self.episodes[env_id].append([])
            self.ended[env_id].append(False)
        self.episodes[env_id][-1].append(step)
        self.ended[env_id][-1] = bool(is_last)

    def cut(self):
        for ended in self.ended:
            ended[-1] = True

    def stack(self, episode, i):
        """The episode's observations up to its i-th, zeros before its start."""
        if not self.frame_stack:
            return episode[i].observation
        frames = [step.observation for step in episode[max(0, i + 1 - self.frame_stack) : i + 1]]
        missing = self.frame_stack - len(frames)
        return np.stack([np.zeros_like(frames[0])] * missing + frames)

    def transition(self, episode, i):
        r_t, discount_t = 0.0, 1.0
        window = episode[i + 1 : i + 1 + self.n_step]
        for step in window:
            r_t += discount_t * step.reward
            discount_t *= self.discount * step.discount
        action, s_t = episode[i].action, self.stack(episode, i + len(window))
        return base.Transition(self.stack(episode, i), action, r_t, discount_t, s_t)

    def transitions(self):
        """{(environment, row): transition} of all whose n steps, or whole episode, were seen."""
        found = {}
        for env_id, episodes in enumerate(self.episodes):
            for episode, ended in zip(episodes, self.ended[env_id]):
                count = len(episode) - (1 if ended else self.n_step)
                for i in range(count):
                    found[env_id, episode[i].row] = self.transition(episode, i)
        return found


class Play:
    """Feeds the same steps to a replay and to the model of it."""

    def __init__(self, make_replay, num_envs=1, frame_stack=0, n_step=3, discount=0.5, **settings):
        self.spec = FRAME if frame_stack else VECTOR
        self.num_envs, self.rows = num_envs, 0
        self.model = Model(num_envs, frame_stack, n_step, discount)
        self.replay = make_replay(
            num_envs=num_envs,
            frame_stack=frame_stack,
            n_step=n_step,
            discount=discount,
            **settings,
        )
        self.state = self.replay.init()
        self.owners = {}
        self.key_dtype = None

    def observation(self, env_id):
        """One that says whose it is: environment and row; never zero."""
        parts = np.array([env_id + 1, self.rows // 250, self.rows % 250, 9], self.spec.dtype)
        return parts[: np.prod(self.spec.shape)].reshape(self.spec.shape)

    def identify(self, observation):
        """(environment, row) of an observation or of a stack's newest frame."""
        parts = observation.reshape(-1)[-np.prod(self.spec.shape) :]
        return int(parts[0]) - 1, int(parts[1]) * 250 + int(parts[2])

    def add(self, *steps):
        """One step of each environment: (kind, reward, discount), kind "first", "mid" or "last"."""
        kinds, rewards, discounts = zip(*steps)
        actions = [(3 * self.rows + env_id) % 17 for env_id in range(self.num_envs)]
        step = base.Step(
            observation=np.stack([self.observation(env_id) for env_id in range(self.num_envs)]),
            is_first=np.array([kind == "first" for kind in kinds]),
            is_last=np.array([kind == "last" for kind in kinds]),
            reward=np.array(rewards, np.float32),
            discount=np.array(discounts, np.float32),
            action=np.array(actions, np.int32),
        )
        self.state = self.replay.add(self.state, step)
        for env_id in range(self.num_envs):
            environment_step = EnvironmentStep(
                self.rows,
                step.observation[env_id],
                rewards[env_id],
                discounts[env_id],
                actions[env_id],
            )
            self.model.add(env_id, environment_step, step.is_first[env_id], step.is_last[env_id])
        self.rows += 1
        return self

    def run(self, length):
        """One environment: an episode that begins and goes on, `length` steps, rewards 0."""
        self.add(("first", 0.0, 0.0))
        for _ in range(length - 1):
            self.add(("mid", 0.0, 1.0))
        return self

    def cut(self):
        self.state = self.replay.cut(self.state)
        self.model.cut()

    def sample(self, seed):
        sample = self.replay.sample(self.state, jax.random.key(seed), BATCH)
        self.key_dtype = sample.keys.dtype
        return jax.tree.map(np.asarray, sample)

    def found(self):
        """{(env_id, row): Found} of everything that can be sampled; all must be possible to draw.

        Also checks that keys name one transition only, over the whole life of the replay.
        """
        found, size = {}, int(self.replay.size(self.state))
        for seed in range(100):
            sample = self.sample(seed)
            assert sample.size == size
            for b, key in enumerate(sample.keys.tolist()):
                transition = jax.tree.map(lambda x: x[b], sample.transition)  # noqa: B023
                who = self.identify(transition.s_tm1)
                assert self.owners.setdefault(key, who) == who
                found[who] = Found(key, float(sample.probabilities[b]), transition)
            if len(found) >= size:
                break
        assert len(found) == size
        assert len({item.key for item in found.values()}) == size
        return found

    def set_priorities(self, found, priorities):
        """Sets priorities {(environment, row): number} by the keys they were found with."""
        self.update([found[who].key for who in priorities], list(priorities.values()))

    def update(self, keys, priorities):
        """Sets priorities of keys, which are plain numbers, in the replay's own type."""
        keys = np.array(keys, self.key_dtype)
        self.state = self.replay.update_priorities(self.state, keys, np.float32(priorities))


def assert_transition(found, expected):
    np.testing.assert_array_equal(found.s_tm1, expected.s_tm1)
    assert found.a_tm1 == expected.a_tm1
    np.testing.assert_allclose(found.r_t, expected.r_t, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.discount_t, expected.discount_t, rtol=1e-6)
    np.testing.assert_array_equal(found.s_t, expected.s_t)


def shares(found):
    """Probabilities by row, of a single environment."""
    return {row: item.probability for (_, row), item in found.items()}


# Returns by hand: n = 3, gamma = 1/2.


def returns_of(make_replay, steps, frame_stack=0):
    """Plays one environment and returns its {row: (r_t, discount_t, row of s_t)}."""
    play = Play(make_replay, frame_stack=frame_stack)
    for step in steps:
        play.add(step)
    return {
        row: (float(t.r_t), float(t.discount_t), play.identify(t.s_t)[1])
        for (_, row), (_, _, t) in play.found().items()
    }


def test_returns_within_an_episode(make_replay):
    """1 + 2/2 + 4/4 and gamma^3, bootstrapped three steps later."""
    steps = [("first", 7.0, 0.0)] + [("mid", float(2**i), 1.0) for i in range(5)]
    returns = returns_of(make_replay, steps)
    assert returns == {0: (3, 0.125, 3), 1: (6, 0.125, 4), 2: (12, 0.125, 5)}


FILLER = [("first", 7.0, 0.0)] + [("mid", 0.0, 1.0)] * 3


def test_returns_at_a_termination(make_replay):
    """Rewards of the next episode never enter, and nothing is bootstrapped."""
    steps = [("first", 7.0, 0.0), ("mid", 1.0, 1.0), ("mid", 2.0, 1.0), ("last", 4.0, 0.0)]
    returns = returns_of(make_replay, steps + FILLER)
    assert returns.pop(4) == (0, 0.125, 7)
    assert returns == {0: (3, 0, 3), 1: (4, 0, 3), 2: (4, 0, 3)}


def test_returns_at_a_truncation_bootstrap_from_the_last_observation(make_replay):
    """The power of gamma is the number of steps that were left."""
    steps = [("first", 7.0, 0.0), ("mid", 1.0, 1.0), ("mid", 2.0, 1.0), ("last", 4.0, 1.0)]
    returns = returns_of(make_replay, steps + FILLER)
    assert returns.pop(4) == (0, 0.125, 7)
    assert returns == {0: (3, 0.125, 3), 1: (4, 0.25, 3), 2: (4, 0.5, 3)}


def test_returns_at_a_life_loss(make_replay):
    """Discount 0 cuts the return, but the episode goes on: there is a transition from its step."""
    steps = [("first", 7.0, 0.0), ("mid", 1.0, 1.0), ("mid", 2.0, 0.0), ("mid", 4.0, 1.0)]
    steps += [("mid", 8.0, 1.0), ("mid", 16.0, 1.0)]
    returns = returns_of(make_replay, steps)
    assert {row: r[:2] for row, r in returns.items()} == {0: (2, 0), 1: (2, 0), 2: (12, 0.125)}


def test_stacks_go_on_through_a_life_loss(make_replay):
    steps = [("first", 0.0, 0.0), ("mid", 0.0, 1.0), ("mid", 0.0, 0.0)] + [("mid", 0.0, 1.0)] * 4
    play = Play(make_replay, frame_stack=4)
    for step in steps:
        play.add(step)
    s_tm1 = play.found()[0, 3].transition.s_tm1
    assert [play.identify(frame)[1] for frame in s_tm1] == [0, 1, 2, 3]


def test_an_episode_shorter_than_n(make_replay):
    """A first step and a last one make one transition; the last step itself has none."""
    steps = [("first", 7.0, 0.0), ("last", 5.0, 1.0)]
    returns = returns_of(make_replay, steps + FILLER)
    assert returns == {0: (5, 0.5, 1), 2: (0, 0.125, 5)}


def test_stacks_begin_with_zeros_in_each_episode(make_replay):
    play = Play(make_replay, frame_stack=4)
    for step in [("first", 0, 0), ("mid", 0, 1), ("last", 0, 0), ("first", 0, 0), ("mid", 0, 1)]:
        play.add(step)
    play.add(("mid", 0, 1)).add(("mid", 0, 1))
    found = play.found()
    first, second = (found[0, row].transition for row in (0, 3))
    assert not first.s_tm1[:3].any()
    assert not second.s_tm1[:3].any()
    assert [play.identify(frame)[1] for frame in first.s_t[1:]] == [0, 1, 2]
    assert not first.s_t[0].any()
    assert [play.identify(frame)[1] for frame in second.s_t] == [3, 4, 5, 6]


def test_cut_makes_the_newest_step_a_truncation(make_replay):
    """Its own transition is lost, those before it bootstrap from it, new episodes don't mix in."""
    play = Play(make_replay)
    for step in [("first", 7.0, 0.0), ("mid", 1.0, 1.0), ("mid", 2.0, 1.0), ("mid", 4.0, 1.0)]:
        play.add(step)
    play.cut()
    for step in FILLER:
        play.add(step)
    found = {row: item.transition for (_, row), item in play.found().items()}
    assert sorted(found) == [0, 1, 2, 4]
    assert [(t.r_t, t.discount_t) for t in found.values()].count((3, 0.125)) == 1
    assert (found[1].r_t, found[1].discount_t) == (4, 0.25)
    assert (found[2].r_t, found[2].discount_t) == (4, 0.5)
    assert [play.identify(found[row].s_t)[1] for row in (0, 1, 2, 4)] == [3, 3, 3, 7]


def test_clear_forgets_transitions_and_priorities_and_counts_on(make_replay):
    """What was written before does not come back, not even those that waited for their n steps."""
    play = Play(make_replay).run(7)
    found = play.found()
    play.set_priorities(found, dict.fromkeys(found, 9.0))
    play.state = play.replay.clear(play.state)
    assert int(play.replay.size(play.state)) == 0
    assert int(play.replay.num_added(play.state)) == 7
    play.add(("first", 0.0, 0.0))
    for _ in range(5):
        play.add(("mid", 2.0, 1.0))
    found = {row: item for (_, row), item in play.found().items()}
    assert sorted(found) == [7, 8, 9]
    assert {float(item.transition.r_t) for item in found.values()} == {3.5}  # 2 + 1 + 0.5
    # All alike again: the large priorities from before are not given to new transitions.
    play.update([found[7].key], [1.0])
    assert len(set(shares(play.found()).values())) == 1


# Random runs against the model.


def random_steps(random, was_last):
    """A step for each environment; a first step's reward and discount must never be used."""
    for last in was_last:
        if last:
            yield "first", 99.0, 0.9
            continue
        kind = "last" if random.uniform() < 0.15 else "mid"
        yield kind, random.normal(), float(random.uniform() < (0.5 if kind == "last" else 0.9))


@pytest.mark.parametrize(
    ("num_envs", "frame_stack", "n_step"), [(2, 4, 3), (3, 0, 1), (1, 2, 5), (2, 1, 2)]
)
def test_random_runs_agree_with_the_model(make_replay, num_envs, frame_stack, n_step):
    """Episodes of random lengths and ends, cuts, and six times more steps than there is room for.

    Everything that can be sampled equals the model's transition of the same row, and
    whatever lies well within the capacity can be sampled.
    """
    rows = 14
    play = Play(make_replay, num_envs, frame_stack, n_step, 0.9, capacity=rows * num_envs)
    random = np.random.RandomState(frame_stack)
    was_last = [True] * num_envs
    for t in range(6 * rows):
        steps = list(random_steps(random, was_last))
        play.add(*steps)
        was_last = [kind == "last" for kind, *_ in steps]
        if t % 31 == 30:
            play.cut()
            was_last = [True] * num_envs
        if t % 9 == 8 or t % 31 > 28:
            compare_with_model(play, rows - frame_stack)
    assert int(play.replay.num_added(play.state)) == 6 * rows * num_envs


def compare_with_model(play, recent_rows):
    found, model = play.found(), play.model.transitions()
    for who, item in found.items():
        assert_transition(item.transition, model[who])
    newest = play.rows - 1
    certain = range(newest - recent_rows + 2, newest - play.model.n_step + 1)
    assert {who for who in model if who[1] in certain} <= found.keys()


# Priorities.


def test_frequencies_follow_priorities_to_the_exponent(make_prioritized):
    """Chi-squared test over 25 600 draws; the reported probabilities are exact."""
    play = Play(make_prioritized, priority_exponent=0.7, uniform_mix=0.01).run(20)
    found = play.found()
    priorities = {who: 0.05 * (1 + who[1]) ** 2 for who in found}
    priorities[0, 4] = 0.0
    play.set_priorities(found, priorities)
    weights = {who: p**0.7 for who, p in priorities.items()}
    total = sum(weights.values())
    expected = {who: 0.99 * w / total + 0.01 / len(weights) for who, w in weights.items()}
    counts = dict.fromkeys(expected, 0)
    for seed in range(100):
        sample = play.sample(seed)
        for s_tm1, p in zip(sample.transition.s_tm1, sample.probabilities):
            who = play.identify(s_tm1)
            counts[who] += 1
            assert p == pytest.approx(expected[who], rel=1e-5)
    observed = np.array([counts[who] for who in expected])
    assert stats.chisquare(observed, np.array(list(expected.values())) * 25_600).pvalue > 1e-4


@pytest.mark.parametrize("module", ON_DEVICE.values(), ids=ON_DEVICE)
def test_uniform_draws_are_blind_to_priorities(module):
    """Of the same transitions as the others, 25 600 draws; a measurement needs them."""
    make = lambda **settings: build_on_device(  # noqa: E731
        module, capacity=40, priority_exponent=0.7, uniform_mix=0.01, **settings
    )
    play = Play(make).run(20)
    found = play.found()
    play.set_priorities(found, {who: 0.05 * (1 + who[1]) ** 2 for who in found})
    counts = dict.fromkeys(found, 0)
    for seed in range(100):
        sample = play.replay.sample_uniform(play.state, jax.random.key(seed), BATCH)
        np.testing.assert_allclose(sample.probabilities, 1 / len(found), rtol=1e-5)
        for s_tm1 in np.asarray(sample.transition.s_tm1):
            counts[play.identify(s_tm1)] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def test_new_transitions_get_the_largest_priority_seen(make_prioritized):
    """Seen, not present: 9 counts on after its owner fell to 1; at first it is 1."""
    play = Play(make_prioritized).run(6)
    before = shares(play.found())
    assert len(set(before.values())) == 1
    play.set_priorities(play.found(), {(0, 1): 9.0})
    play.set_priorities(play.found(), {(0, 1): 1.0})
    known = play.found().keys()
    for _ in range(3):
        play.add(("mid", 0.0, 1.0))
    found = play.found()
    new = [item.probability for who, item in found.items() if who not in known]
    old = [found[who].probability for who in known]
    assert len(new) == 3
    # 9 ** 0.5 times as much.
    np.testing.assert_allclose(new, 3 * np.mean(old), rtol=1e-5)
    assert np.ptp(old) == 0


def test_before_any_update_the_priority_of_new_transitions_is_one(make_prioritized):
    play = Play(make_prioritized).run(8)
    play.set_priorities(play.found(), {(0, 0): 0.25})
    found = shares(play.found())
    assert found[0] == pytest.approx(found[1] * 0.25**0.5, rel=1e-5)


def test_a_late_update_of_a_transition_that_is_gone_changes_nothing(make_prioritized):
    """Neither the transition in its place, nor the priority that new ones get."""
    play = Play(make_prioritized, capacity=16).run(16)
    early = play.found()
    for _ in range(20):
        play.add(("mid", 0.0, 1.0))
    before = play.found()
    assert not early.keys() & before.keys()
    play.set_priorities(early, dict.fromkeys(early, 50.0))
    assert shares(play.found()) == shares(before)
    play.add(("mid", 0.0, 1.0))
    assert len(set(shares(play.found()).values())) == 1


def test_an_update_reaches_the_living_among_the_dead(make_prioritized):
    play = Play(make_prioritized, capacity=16).run(16)
    early = play.found()
    for _ in range(20):
        play.add(("mid", 0.0, 1.0))
    both = early | play.found()
    chosen = max(both)
    play.set_priorities(both, {**dict.fromkeys(early, 50.0), chosen: 4.0})
    after = shares(play.found())
    others = [p for row, p in after.items() if row != chosen[1]]
    assert after[chosen[1]] == pytest.approx(2 * others[0], rel=1e-5)
    assert len(set(others)) == 1


@pytest.mark.parametrize("priorities", [(0.25, 4.0, 1.0), (4.0, 0.25, 1.0), (1.0, 0.25, 4.0)])
def test_of_equal_keys_in_one_update_the_largest_priority_counts(make_prioritized, priorities):
    play = Play(make_prioritized).run(10)
    key = play.found()[0, 2].key
    play.update([key] * 3, priorities)
    found = shares(play.found())
    assert found[2] == pytest.approx(2 * found[3], rel=1e-5)


def test_uniform_mix_keeps_zero_priorities_alive(make_prioritized):
    """By hand: ten transitions, one with all the priority: 0.8 + 0.02 and 0.02 each."""
    play = Play(make_prioritized, uniform_mix=0.2).run(13)
    found = play.found()
    assert len(found) == 10
    play.set_priorities(found, {who: float(who[1] == 5) for who in found})
    after = shares(play.found())
    assert after.pop(5) == pytest.approx(0.82, rel=1e-5)
    np.testing.assert_allclose(list(after.values()), 0.02, rtol=1e-5)


# What the learner makes of the probabilities.


def test_importance_weights_by_hand():
    """(1/p)^(1/2) = 10, 5, 2, divided by the largest."""
    weights = importance.weights(np.float32([0.01, 0.04, 0.25]), np.float32(0.5))
    np.testing.assert_allclose(weights, [1, 0.5, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    ("steps", "exponent"), [(0, 0.4), (20, 0.4), (70, 0.7), (120, 1.0), (10**9, 1.0)]
)
def test_importance_exponent_rises_linearly_from_the_start_of_learning(steps, exponent):
    schedule = importance.ImportanceSchedule(0.4, 1.0, begin_steps=20, end_steps=120)
    assert float(schedule(np.int32(steps))) == pytest.approx(exponent, rel=1e-6)
