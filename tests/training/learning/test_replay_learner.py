"""The learner as a whole: counting, target network, seeds, memory, and the norms of its layers."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import rainbow, rainbow_nap
from plasticity import layers
from training.learning import replay_learner

TARGET_PERIOD = 3
CHANGES = {
    # Without noise, and on vectors, its functions compile soon.
    "network.head.noisy": False,
    # Observations of 2 MB.
    "replay.capacity": 100_000,
    "training.update_period_frames": 16,
    "training.target_update_period_frames": 16 * TARGET_PERIOD,
    "optimizer.learning_rate": 1e-2,
}


@pytest.fixture(scope="module")
def learner(make_learner):
    return make_learner(changes=CHANGES, observations="vectors")


@pytest.fixture(scope="module")
def play(random_steps):
    """(learner, seed, data seeds, steps) -> the state after steps of random data, and the actions.

    Each of the learner's seeds gets the data of its own data seed.
    """

    def observe(learner, seed, data_seeds, num_steps=15):
        spec = learner.replay.ring.spec.observation
        runs = zip(*(random_steps(s, num_steps, learner.num_envs, spec) for s in data_seeds))
        state, actions = None, []
        for steps in runs:
            step = jax.tree.map(lambda *xs: np.stack(xs), *steps)
            if state is None:
                state = learner.init(seed, step.observation)
            state, action = learner.observe(state, replay_learner.Observed.of(*step[:-1]))
            actions.append(np.asarray(action))
        return state, np.stack(actions)

    return observe


def copy(state):
    """A state with memory of its own, for a function that takes its argument's away."""
    return jax.tree.map(jnp.copy, state)


def as_numpy(tree):
    return jax.tree.map(np.asarray, tree)


def assert_trees_equal(found, expected, **tolerances):
    def compare(x, y):
        np.testing.assert_allclose(x, y, **{"rtol": 0, "atol": 0, **tolerances})

    jax.tree.map(compare, found, expected)


def is_equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def test_the_target_network_is_copied_exactly_at_its_period(learner, play):
    """After updates 3 and 6 it is the online network, bit by bit; in between it stays as it was."""
    state, _ = play(learner, 0, [0])
    assert is_equal(state.train.target_params, state.train.params)
    for update in range(1, 8):
        before = as_numpy(state.train.target_params)
        state, _ = learner.learn(state, 1)
        assert int(state.train.updates) == update
        expected = state.train.params if update % TARGET_PERIOD == 0 else before
        assert is_equal(state.train.target_params, expected)
        assert not is_equal(state.train.params, before)
    assert not is_equal(state.train.params, state.train.target_params)


def test_k_updates_in_one_call_are_k_calls(learner, play):
    """Parameters, optimizer, priorities and random numbers; the metrics are the mean."""
    state, _ = play(learner, 1, [1])
    together, metrics = learner.learn(copy(state), 4)
    singly, separate = state, []
    for _ in range(4):
        singly, one = learner.learn(singly, 1)
        separate.append(as_numpy(one))
    np.testing.assert_array_equal(*(jax.random.key_data(s.rng) for s in (together, singly)))
    together, singly = (s._replace(rng=None) for s in (together, singly))
    assert_trees_equal(together, singly, rtol=1e-5, atol=1e-6)
    means = jax.tree.map(lambda *xs: np.mean(xs, axis=0), *separate)
    assert_trees_equal(as_numpy(metrics), means, rtol=1e-5, atol=1e-6)
    names = {"loss", "gradient_norm", "priority", "q_value", "td_loss", "learning_rate"}
    assert set(metrics) == names
    assert metrics["loss"].shape == (1,)


def test_an_update_is_traced_once_for_all_programs(learner, play):
    """Tracing takes seconds: of one update, of several, with the target's copy or without."""
    traced = []

    def update(*arguments):
        traced.append(arguments)
        return learner.packed.update(*arguments)

    counting = dataclasses.replace(
        learner, agent=learner.agent._replace(update=update, packed=None)
    )
    state = play(learner, 0, [0])[0]
    counting.learn.eval_shape(state, 1)
    for num_updates, copies in ((1, False), (1, True), (2, False)):
        counting.learn.lower(state, num_updates, copies)
    assert len(traced) == 1


def test_two_seeds_in_one_program_are_two_runs(make_learner, play):
    """The k-th seed is seed + k: the same actions, replay and, after 4 updates, parameters."""
    noise = {"network.head.noisy": True, "network.head.dueling": False}
    changes = {**CHANGES, **noise, "replay.capacity": 80}
    single, both = (
        make_learner(changes={**changes, "num_seeds": k}, observations="vectors") for k in (1, 2)
    )
    state, actions = play(both, 7, [3, 4])
    state, metrics = both.learn(state, 4)
    for k in range(2):
        alone, alone_actions = play(single, 7 + k, [3 + k])
        alone, alone_metrics = single.learn(alone, 4)
        np.testing.assert_array_equal(actions[:, k], alone_actions[:, 0])
        np.testing.assert_allclose(metrics["loss"][k], alone_metrics["loss"][0], rtol=1e-5)
        ours, theirs = of_seed(state, k), of_seed(alone, 0)
        assert_trees_equal(ours, theirs, rtol=1e-5, atol=1e-5)
        assert ours.train.updates == 4
        assert ours.steps == 15 * 2
    assert not np.allclose(metrics["loss"][0], metrics["loss"][1])


def of_seed(state, k):
    """One seed's part of a state; the counts have no axis of seeds."""
    numbers = state._replace(rng=jax.random.key_data(state.rng))
    return jax.tree.map(lambda x: np.asarray(x[k] if x.ndim else x), numbers)


def test_actions_are_recorded_as_they_were_chosen(learner, play):
    state, actions = play(learner, 0, [5])
    assert actions.shape == (15, 1, 2)
    assert actions.dtype == np.int32
    np.testing.assert_array_equal(state.replay.ring.actions[0, :15], actions[:, 0])


@pytest.mark.parametrize("function", ["observe", "learn"])
def test_memory_is_given_from_state_to_state(learner, play, function):
    """The replay stays in its place, the old state is gone, and no buffer is given in vain."""
    state, _ = play(learner, 0, [6])
    places = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state.replay)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if function == "learn":
            new_state, _ = learner.learn(state, 1)
        else:
            new_state, _ = learner.observe(state, observed_zeros())
    assert not [w for w in caught if "donated" in str(w.message)]
    new_places = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(new_state.replay)]
    assert new_places == places
    assert state.replay.ring.observations.is_deleted()
    assert state.replay.tree.weights.is_deleted()


@pytest.mark.parametrize("function", ["observe", "learn"])
def test_no_copy_of_the_replay_is_made(learner, function):
    """The compiled programs' own memory is small beside the ring's."""
    state = jax.eval_shape(lambda o: learner.init(0, o), jnp.zeros((1, 2, 5)))
    ring_bytes = state.replay.ring.observations.size * 4
    assert ring_bytes == 2_000_000
    if function == "learn":
        lowered = learner.learn.lower(state, 1)
    else:
        lowered = learner.observe.lower(state, observed_zeros())
    memory = lowered.compile().memory_analysis()
    assert memory.temp_size_in_bytes < ring_bytes / 5


def observed_zeros():
    zeros, flags = jnp.zeros((1, 2)), jnp.zeros((1, 2), bool)
    return replay_learner.Observed.of(jnp.zeros((1, 2, 5)), flags, flags, zeros, zeros)


def test_cut_ends_the_episodes_of_all_environments(learner, play):
    state, _ = play(learner, 0, [8])
    state = learner.cut(state)
    assert np.asarray(state.replay.ring.is_last)[0, 14].all()


def test_replay_size_is_that_of_each_seed(learner, play):
    state, _ = play(learner, 0, [9])
    assert learner.replay_size(state).shape == (1,)
    assert int(learner.replay_size(state)[0]) == int(state.replay.tree.present.sum())


# Norms of the layers.


def layer_norms(learner, params, kinds):
    """{layer: norm} in float64, of one seed."""
    params = jax.tree.map(lambda x: np.asarray(x[0], np.float64), params)
    leaves, declare = layers.leaves_by_path(params), lambda params: learner.agent.declared.layers
    return {
        layer.name: np.sqrt(sum(np.sum(leaves[path] ** 2) for path in layer.leaves.values()))
        for layer in layers.find_layers(params, declare)
        if layer.kind in kinds
    }


@pytest.mark.parametrize("get_config", [rainbow.get_config, rainbow_nap.get_config])
def test_norms_grow_in_rainbow_and_stay_with_projection(make_learner, random_steps, get_config):
    """Thirty updates on random frames at a learning rate of 5e-3.

    With projection all hidden layers keep their initial norms, and inner norms' scales and offsets
    that of sqrt(d), to 1e-5; the outputs are free.
    """
    learner = make_learner(get_config, {"optimizer.learning_rate": 5e-3})
    state = learner.init(0, jnp.zeros((1, 2, 36, 36), jnp.uint8))
    replay, add = learner.replay.init(), jax.jit(learner.replay.add)
    for step in random_steps(10, 35, 2):
        replay = add(replay, step)
    is_projected = get_config is rainbow_nap.get_config
    kinds = ("hidden", "norm") if is_projected else ("hidden",)
    before, outputs_before = (
        layer_norms(learner, state.train.params, k) for k in (kinds, ("output",))
    )
    assert len(before) == (8 if is_projected else 5)
    state, _ = learner.learn(state._replace(replay=with_seed_axis(replay)), 30)
    after, outputs_after = (
        layer_norms(learner, state.train.params, k) for k in (kinds, ("output",))
    )
    ratios = np.array([after[name] / before[name] for name in before])
    if is_projected:
        np.testing.assert_allclose(ratios, 1.0, atol=1e-5)
        for i, size in enumerate((32, 64, 64)):
            assert after[f"torso/norm_{i}"] == pytest.approx(size**0.5, rel=1e-5)
    else:
        assert (ratios > 1.001).all()
    assert all(abs(outputs_after[name] / outputs_before[name] - 1) > 1e-3 for name in outputs_after)


def with_seed_axis(replay):
    """The state of one seed's replay as that of one seed among one."""
    many = jax.tree.map(lambda x: x[None], replay)
    shared = {"rows": replay.ring.rows, "cleared": replay.ring.cleared}
    return many._replace(ring=many.ring._replace(**shared))
