"""The contract of agents (agents/base.py), asked of every agent that can be found by name."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import base, optimizers
from core import checks
from networks import activations
from plasticity import layers, schedules
from plasticity.interventions import base as interventions
from tests.agents import small_agents, toy_intervention
from tests.agents.small_agents import NUM_ACTIONS, observations, transitions

BATCH = 4
every_agent = pytest.mark.parametrize("name", small_agents.NAMES)
every_kind = pytest.mark.parametrize("name", small_agents.KINDS)

# Rates that change from one update to the next, and are large enough to see what they do.
DECAY = schedules.ScheduleSettings(name="linear", duration=10, end_value=0.0)
OPTIMIZER = {"learning_rate": 1e-2, "schedule": DECAY}


@functools.cache
def make(name):
    """The agent with a schedule, and its jitted update."""
    agent = small_agents.make(name, optimizer=OPTIMIZER)
    return agent, jax.jit(agent.update)


@functools.cache
def make_projected(name):
    """The agent with NaP."""
    optimizer = {"learning_rate": 1e-2, "projection": small_agents.PROJECTED}
    return small_agents.make(name, norm="layer", optimizer=optimizer)


@functools.cache
def init(agent, seed=0):
    return jax.jit(agent.init)(jax.random.key(seed), observations(1))


@functools.cache
def run(agent, update, num_updates=3, seed=0):
    """The state after updates on random batches."""
    state = init(agent, seed)
    for i in range(num_updates):
        batch = transitions(BATCH, seed=10 * i)
        state = update(state, jax.random.key(i), batch, jnp.ones(BATCH)).state
    return state


def assert_same(found, expected):
    """Bit by bit."""
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def differs(first, second):
    return any(
        (np.asarray(a) != np.asarray(b)).any()
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    )


# An update.


@every_agent
def test_an_update_gives_a_state_of_the_same_shapes_and_finite_metrics(name):
    agent, update = make(name)
    state = init(agent)
    updated = update(state, jax.random.key(1), transitions(BATCH), jnp.ones(BATCH))
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert shapes(updated.state) == shapes(state)
    assert {"loss", "gradient_norm", "learning_rate"} <= updated.metrics.keys()
    for key, value in updated.metrics.items():
        assert value.shape == (), key
        assert np.isfinite(value), key
    if updated.priorities is not None:
        assert updated.priorities.shape == (BATCH,)
        assert updated.priorities.dtype == np.float32
        assert (np.asarray(updated.priorities) >= 0).all()
        assert np.isfinite(updated.priorities).all()
    assert differs(updated.state.params, state.params)


@every_agent
def test_updates_are_counted(name):
    agent, update = make(name)
    assert init(agent).updates.dtype == np.int32
    assert [int(run(agent, update, n).updates) for n in range(3)] == [0, 1, 2]


@every_agent
def test_the_learning_rate_is_the_one_that_was_used(name):
    """Linear from 0.01 to 0 in ten updates: that of the third is what two updates left of it."""
    agent, update = make(name)
    state = init(agent)
    for i in range(3):
        updated = update(state, jax.random.key(i), transitions(BATCH), jnp.ones(BATCH))
        expected = 1e-2 * (1 - i / 10)
        assert float(updated.metrics["learning_rate"]) == pytest.approx(expected, rel=1e-6)
        state = updated.state


@every_agent
def test_weights_weigh_transitions(name):
    """Of weight 0, nothing is learned."""
    agent, update = make(name)
    state = init(agent)
    updated = update(state, jax.random.key(1), transitions(BATCH), jnp.zeros(BATCH))
    assert_same(updated.state.params, state.params)
    assert float(updated.metrics["gradient_norm"]) == 0
    assert float(updated.metrics["loss"]) == 0


@every_kind
def test_the_target_is_a_buffer_of_its_own(name):
    """So the whole state can be given away to a jitted update; also when both are equal."""
    agent, update = make(name)
    pointers = lambda tree: {x.unsafe_buffer_pointer() for x in jax.tree.leaves(tree)}  # noqa: E731
    for state in (agent.init(jax.random.key(0), observations(1)), run(agent, update, 2)):
        assert not pointers(state.params) & pointers(state.target_params)
        assert jax.tree.leaves(state.target_params)


@every_kind
def test_the_target_stays_until_it_is_due(name):
    """Every second update."""
    agent, update = make(name)
    targets = [run(agent, update, n).target_params for n in range(4)]
    assert_same(targets[1], targets[0])
    assert differs(targets[2], targets[1])
    assert_same(targets[3], targets[2])


@every_kind
def test_seeds_along_an_axis_are_independent(name):
    """Two seeds under vmap are two runs."""
    agent, update = make(name)
    seeds = (0, 1)
    states = [init(agent, seed) for seed in seeds]
    batches = [transitions(BATCH, seed=seed) for seed in seeds]
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    stack = lambda *x: jnp.stack(x)  # noqa: E731
    together = jax.vmap(agent.update)(
        jax.tree.map(stack, *states), keys, jax.tree.map(stack, *batches), jnp.ones((2, BATCH))
    )
    for k, seed in enumerate(seeds):
        alone = update(states[k], jax.random.key(seed), batches[k], jnp.ones(BATCH))
        jax.tree.map(
            lambda found, expected, k=k: np.testing.assert_allclose(
                found[k], expected, rtol=1e-3, atol=1e-6
            ),
            together._replace(state=together.state._replace(opt_state=())),
            alone._replace(state=alone.state._replace(opt_state=())),
        )


# Acting.


@every_agent
@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_actions_are_indices_in_both_modes(name, mode):
    agent, _ = make(name)
    for steps in (0, 10**9):
        actions = agent.act(
            init(agent).params, jax.random.key(0), observations(64), jnp.int32(steps), mode
        )
        assert (actions.shape, actions.dtype) == ((64,), np.int32)
        assert (np.asarray(actions) >= 0).all()
        assert (np.asarray(actions) < NUM_ACTIONS).all()


# Layers.


@every_agent
def test_every_matrix_is_declared(name):
    agent, _ = make(name)
    params = agent.param_shapes()
    found = layers.find_layers(params, lambda _: agent.declared.layers)
    leaves = layers.leaves_by_path(params)
    free = [x for x in found if x.kind == "other" for p in x.leaves.values() if leaves[p].ndim > 1]
    assert not free
    assert {"hidden", "output"} <= {layer.kind for layer in found}
    modules = [layer.module for layer in agent.declared.layers]
    assert len(modules) == len(set(modules))
    assert {layer.name for layer in found} == set(modules)


@every_agent
def test_norms_are_declared_and_one_feeds_an_output_layer(name):
    agent = small_agents.make(name, norm="layer")
    found = layers.find_layers(agent.param_shapes(), lambda _: agent.declared.layers)
    assert {"norm", "free_norm"} <= {layer.kind for layer in found}


@every_agent
def test_units_are_seen_before_and_after_the_nonlinearity(name):
    agent, _ = make(name)
    params = init(agent).params
    if agent.units is None:
        pytest.skip("shows no units")
    found = agent.units(params, jax.random.key(0), observations(16))
    assert found
    for units in found.values():
        assert isinstance(units, activations.Units)
        assert units.pre.shape[0] == 16
        np.testing.assert_array_equal(units.post, np.maximum(units.pre, 0))
        assert (np.asarray(units.pre) < 0).any()


@every_agent
def test_units_and_ranks_are_measured_in_every_layer(name):
    agent, _ = make(name)
    params = init(agent).params
    if agent.measure_units is None:
        pytest.skip("shows no units")
    arguments = (params, jax.random.key(0), observations(16))
    found = agent.measure_units(*arguments)
    seen = agent.units(*arguments)
    assert all(set(by_layer) == set(seen) for by_layer in found.values())
    for layer, units in seen.items():
        share = np.mean(np.asarray(units.post) > 0)
        assert float(found["active"][layer]) == pytest.approx(share)
        assert 0 <= float(found["dead"][layer]) <= float(found["dormant_0.1"][layer]) <= 1
    ranks = agent.measure_ranks(*arguments)
    weights = {
        layer.module for layer in agent.declared.layers if layer.kind in ("hidden", "output")
    }
    assert set(ranks["weight_effective_rank"]) == weights
    vectors = {name for name, units in seen.items() if units.post.ndim == 2}
    assert set(ranks["feature_srank"]) == vectors != set()
    assert all(float(rank) >= 1 for rank in ranks["weight_effective_rank"].values())


@every_agent
def test_the_whole_network_can_be_measured(name):
    """In every agent the same scalars; their values are tested below, of one."""
    agent, _ = make(name)
    if agent.measure_network is None:
        pytest.skip("does not measure its network")
    arguments = (init(agent), jax.random.key(0), transitions(8), jnp.ones(8), transitions(4))
    found = jax.eval_shape(agent.measure_network, *arguments)
    assert {"value_churn", "parameter_jacobian", "sharpness"} < set(found)
    assert all(value.shape == () for value in found.values())


def test_the_whole_network_is_measured():
    """Finite numbers; equal gradients of equal transitions; churn by an update."""
    agent, _ = make("dqn")
    batch, probe = transitions(8), transitions(4)
    measure = jax.jit(agent.measure_network)
    found = measure(init(agent), jax.random.key(0), batch, jnp.ones(8), probe)
    assert all(np.isfinite(value) for value in found.values())
    assert float(found["value_churn"]) > 0
    assert float(found["parameter_jacobian"]) > 0
    same = jax.tree.map(lambda x: jnp.repeat(x[:1], 4, axis=0), probe)
    found = measure(init(agent), jax.random.key(0), batch, jnp.ones(8), same)
    assert float(found["gradient_cosine_mean"]) == pytest.approx(1, abs=1e-3)
    assert float(found["ntk_effective_rank"]) == pytest.approx(1, abs=0.05)


@every_agent
def test_the_units_graph_names_layers_that_are_there(name):
    """Every hidden layer leads into units, and something reads them; see test_unit_graph."""
    agent, _ = make(name)
    modules = {layer.module for layer in agent.declared.layers}
    seen = jax.eval_shape(agent.units, agent.param_shapes(), jax.random.key(0), observations(1))
    assert {units.name for units in agent.declared.units} == set(seen)
    for units in agent.declared.units:
        assert units.incoming
        assert set(units.incoming) <= modules
        assert units.readers
        assert {reader.module for reader in units.readers} <= modules


@every_kind
def test_an_update_is_measured_without_being_carried_out(name):
    """Its relative size by layer is that of the update itself; rates are the optimizer's."""
    agent, update = make(name)
    state = init(agent)
    arguments = (jax.random.key(1), transitions(BATCH), jnp.ones(BATCH))
    measured = jax.jit(agent.measure)(state, *arguments)
    updated = update(state, *arguments)
    of_all = ("norm", "gradient_norm", "update_ratio", "tangential_ratio", "learning_rate")
    found = layers.find_layers(state.params, lambda _: agent.declared.layers)
    names = {layer.name for layer in found}
    assert all(set(measured[quantity]) == names for quantity in of_all)
    weighted = {layer.name for layer in found if layer.kind in ("hidden", "output")}
    assert set(measured["updated_units"]) == set(measured["mean_abs_weight"]) == weighted
    before = layers.leaves_by_path(state.params)
    after = layers.leaves_by_path(updated.state.params)
    for layer in found:
        norm = layers.group_norm(before, layer)
        change = {p: after[p] - before[p] for p in layer.leaves.values()}
        ratio = float(layers.group_norm(change, layer) / norm)
        assert float(measured["norm"][layer.name]) == pytest.approx(float(norm), rel=1e-5)
        assert float(measured["update_ratio"][layer.name]) == pytest.approx(ratio, rel=1e-2)
        assert float(measured["learning_rate"][layer.name]) == pytest.approx(1e-2)
    squares = sum(float(norm) ** 2 for norm in measured["gradient_norm"].values())
    total = float(updated.metrics["gradient_norm"])
    assert squares**0.5 == pytest.approx(total, rel=1e-4)


@every_kind
def test_projected_layers_stay_on_their_initial_norms(name):
    """Of NaP, with a LayerNorm before each nonlinearity, over three large updates."""
    agent = make_projected(name)
    state = init(agent)
    after = run(agent, agent.update)
    norms, norms_after = agent.norms(state.params), agent.norms(after.params)
    assert norms.keys() == norms_after.keys()
    hidden = {layer.module for layer in agent.declared.layers if layer.kind == "hidden"}
    assert hidden <= norms.keys()
    for layer, norm in norms.items():
        assert float(norms_after[layer]) == pytest.approx(float(norm), rel=1e-5), layer
    assert differs(state.params, after.params)


def test_without_projection_norms_do_not_stay():
    agent, update = make("dqn")
    norms, after = agent.norms(init(agent).params), agent.norms(run(agent, update).params)
    assert any(abs(float(after[layer] / norm) - 1) > 1e-4 for layer, norm in norms.items())


# What is forgotten at a change of task.


def parts_of(opt_state):
    """The moments and the schedules' parts of an optimizer's state."""
    is_chain = lambda part: isinstance(part, optimizers.ChainState)  # noqa: E731
    chains = [x for x in jax.tree.leaves(opt_state, is_leaf=is_chain) if is_chain(x)]
    assert chains
    return {
        "moments": [(chain.moments, chain.transforms) for chain in chains],
        "schedule": [(chain.rate, chain.factors) for chain in chains],
    }


def parts_of_state(state):
    return {
        "params": state.params,
        "target": state.target_params,
        "updates": state.updates,
        **parts_of(state.opt_state),
    }


@every_kind
@pytest.mark.parametrize("flag", base.Forget._fields)
def test_each_part_is_forgotten_alone(name, flag):
    """It is then a fresh state's; a target network is the copy of what the parameters are."""
    agent, update = make(name)
    state, fresh = run(agent, update), init(agent, seed=7)
    found = parts_of_state(agent.forget(state, fresh, base.Forget(**{flag: True})))
    before, new = parts_of_state(state), parts_of_state(fresh)
    for part, tree in found.items():
        if part != flag:
            assert_same(tree, before[part])
    assert differs(found[flag], before[flag])
    if flag == "target":
        own = {np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state.params)}
        assert all(np.asarray(x).tobytes() in own for x in jax.tree.leaves(found[flag]))
    else:
        assert_same(found[flag], new[flag])


@every_kind
def test_all_is_forgotten_together_or_nothing(name):
    """A state that forgets all but its count of updates is a fresh one."""
    agent, update = make(name)
    state, fresh = run(agent, update), init(agent, seed=7)
    assert_same(agent.forget(state, fresh, base.Forget()), state)
    everything = base.Forget(*(True for _ in base.Forget._fields))
    found = agent.forget(state, fresh, everything)
    assert_same(found._replace(updates=fresh.updates), fresh)
    pointers = lambda tree: {x.unsafe_buffer_pointer() for x in jax.tree.leaves(tree)}  # noqa: E731
    assert not pointers(found.params) & pointers(found.target_params)


@every_kind
def test_new_parameters_are_projected_to_their_own_norms(name):
    """Not to those of the parameters that were forgotten."""
    agent = make_projected(name)
    state, fresh = run(agent, agent.update, 1), init(agent, seed=7)
    state = agent.forget(state, fresh, base.Forget(params=True))
    after = agent.update(state, jax.random.key(0), transitions(BATCH), jnp.ones(BATCH)).state
    norms, norms_after = agent.norms(fresh.params), agent.norms(after.params)
    for layer, norm in norms.items():
        assert float(norms_after[layer]) == pytest.approx(float(norm), rel=1e-5), layer


# Interventions.


def make_with_interventions(name, *listed, **changes):
    """The agent with interventions."""
    return small_agents.make(name, interventions=listed, **changes)


@every_agent
def test_without_interventions_a_state_has_nothing_of_them(name):
    agent, update = make(name)
    assert run(agent, update, 1).interventions == {}


@every_kind
def test_interventions_that_do_nothing_leave_every_bit_as_it_was(name):
    """A regularizer of strength 0 and an operation that only counts."""
    nothing = toy_intervention.Settings()
    agent = make_with_interventions(name, nothing, nothing, optimizer=OPTIMIZER)
    plain, _ = make(name)
    found, expected = run(agent, agent.update), run(plain, plain.update)
    assert_same(found._replace(interventions={}), expected)
    key = toy_intervention.__name__
    states = {name: int(parts["operation"]) for name, parts in found.interventions.items()}
    assert states == {key: 3, f"{key}_#2": 3}
    updated = agent.update(found, jax.random.key(0), transitions(BATCH), jnp.ones(BATCH))
    assert {f"{key}_squares", f"{key}_#2_count"} <= updated.metrics.keys()
    fresh = init(agent)
    forgot = agent.forget(found, fresh, base.Forget(params=True))
    assert_same(forgot.interventions, fresh.interventions)
    kept = agent.forget(found, fresh, base.Forget(target=True, moments=True, schedule=True))
    assert_same(kept.interventions, found.interventions)


@every_kind
def test_a_regularizer_adds_its_gradient(name):
    """2 * 0.25 w, and nothing of the loss: half of each parameter is left by a step of 1.

    The loss that is reported is the agent's own, without the regularizer.
    """
    agent = make_with_interventions(
        name,
        toy_intervention.Settings(strength=0.25),
        optimizer={"name": "sgd", "kwargs": {}, "learning_rate": 1.0, "max_gradient_norm": 0.0},
    )
    state = init(agent)
    updated = agent.update(state, jax.random.key(1), transitions(BATCH), jnp.zeros(BATCH))
    of_critic = lambda params: params["q"] if name == "iql" else params  # noqa: E731
    critic = of_critic(state.params)
    assert_same(of_critic(updated.state.params), jax.tree.map(lambda p: p / 2, critic))
    squares = sum(float(jnp.sum(jnp.square(leaf))) for leaf in jax.tree.leaves(critic))
    gradient_norm = float(updated.metrics["gradient_norm"])
    assert gradient_norm == pytest.approx(0.5 * squares**0.5, rel=1e-5)
    assert float(updated.metrics["loss"]) == 0


@every_agent
def test_an_intervention_without_a_part_is_refused(name, monkeypatch):
    make_with_interventions(name, toy_intervention.Settings())
    monkeypatch.setattr(toy_intervention, "make", lambda *_: interventions.Intervention())
    with pytest.raises(checks.ConfigError, match="toy_intervention' has no part"):
        small_agents.make(name, interventions=(toy_intervention.Settings(),))
