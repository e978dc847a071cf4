"""Each intervention's defining property by hand, and what all of them have in common."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import optimizers
from core import checks, plugins, types
from plasticity import layers
from plasticity.interventions import (
    base,
    hare_and_tortoise,
    l2,
    layer_reset,
    noise,
    parseval,
    shrink_and_perturb,
    spectral,
    towards_initial,
    trigger,
    weight_clipping,
)
from tests.agents import small_agents
from training.checkpoints import state_arrays

# Injection needs a network of its own: test_injection.py.
NAMES = [name for name in plugins.names("plasticity.interventions") if name != "injection"]
RESET = layer_reset.Settings(layers="hidden")
# So strong, or so often, that three updates show it.
STRONG = {
    "c_chain": {"start_coefficient": 1e3},
    "continual_backprop": {"rate": 0.25, "maturity_updates": 0},
    "hare_and_tortoise": {"return_period_frames": 8, "momentum": 0.5},
    "l2": {"strength": 0.1},
    "layer_reset": {"period_frames": 8, "layers": "hidden"},
    "noise": {"scale": 0.1},
    "parseval": {"strength": 0.1},
    "redo": {"threshold": 0.9, "period_frames": 8},
    "row_projection": {},
    "self_normalized_resets": {"start_updates": 1},
    "shrink_and_perturb": {"period_frames": 8},
    "silence": {"at_frames": 8, "bias": -1.0},
    "spectral": {"strength": 0.1},
    "spectral_ball": {"limit": 0.2},
    "trac": {},
    "trigger": {"operation": RESET, "metric": "dormant", "threshold": 0.0, "period_frames": 4},
    "towards_initial": {"strength": 10.0},
    "weight_clipping": {"kappa": 0.5},
}
# So weak that nothing is left of it. Some have no such form.
OFF = {
    "c_chain": {"start_coefficient": 0.0},
    "continual_backprop": {"rate": 0.0, "maturity_updates": 0},
    "hare_and_tortoise": {"return_period_frames": 8, "momentum": 0.0},
    "l2": {"strength": 0.0},
    "layer_reset": {"period_frames": 400, "layers": "hidden"},
    "noise": {"scale": 0.0},
    "parseval": {"strength": 0.0},
    "redo": {"period_frames": 400},
    "self_normalized_resets": {},
    "shrink_and_perturb": {"share": 1.0, "period_frames": 8},
    "silence": {"at_frames": 400},
    "spectral": {"strength": 0.0},
    "spectral_ball": {"limit": 1e6},
    "towards_initial": {"strength": 0.0},
    "trigger": {"operation": RESET, "metric": "dormant", "threshold": 1.0, "period_frames": 4},
    "weight_clipping": {"kappa": 1e6},
}


def settings_of(name, **changes):
    """The settings of an intervention by its name."""
    return dataclasses.replace(plugins.find(base.PACKAGE, name, "name").Settings(), **changes)


def subject(params=None, frames_per_update=4.0):
    """A hidden layer of two inputs and units, its norm, and an output layer."""
    params = params or {
        "hidden": {"w": jnp.array([[3.0, 0.0], [0.0, 1.0]]), "b": jnp.array([1.0, 0.0])},
        "norm": {"scale": jnp.ones(2), "offset": jnp.zeros(2)},
        "output": {"w": jnp.array([[1.0], [2.0]])},
    }
    declared = types.DeclaredNetwork(tuple(layers.by_name(params)))
    fresh = lambda rng: jax.tree.map(lambda p: jax.random.normal(rng, p.shape), params)  # noqa: E731
    shapes = jax.eval_shape(lambda: params)
    units = lambda *_: {}  # noqa: E731
    seen = jax.ShapeDtypeStruct((1, 2), jnp.float32)
    return params, base.Subject(declared, shapes, fresh, frames_per_update, units, seen)


def loss_of(name, params, of, updates=0, initial=None, **changes):
    """A regularizer's term, and its gradient."""
    regularizer = plugins.find(base.PACKAGE, name, "name").make(settings_of(name, **changes), of)
    regularizer = regularizer.regularizer
    state = regularizer.init(initial if initial is not None else params)
    term = lambda p: regularizer.loss(p, state, jnp.int32(updates), None)[0]  # noqa: E731
    return jax.value_and_grad(term)(params)


# By hand.


def test_l2_is_the_sum_of_squares_without_a_half():
    params, of = subject()
    value, grads = loss_of("l2", params, of, strength=0.5)
    assert float(value) == pytest.approx(0.5 * (9 + 1 + 1 + 2 + 1 + 4))
    np.testing.assert_allclose(grads["hidden"]["w"], params["hidden"]["w"])  # 2 * 0.5 * w


def test_l2_of_chosen_layers_and_weights():
    params, of = subject()
    value, grads = loss_of("l2", params, of, strength=1.0, layers="hidden", include="weights")
    assert float(value) == pytest.approx(10)
    assert float(jnp.sum(jnp.abs(grads["hidden"]["b"]))) == 0
    assert float(jnp.sum(jnp.abs(grads["output"]["w"]))) == 0


def test_incremental_l2_rises_linearly_and_stays():
    chosen = l2.Settings(strength=0.0, end_strength=1.0, begin_frames=400, duration_frames=800)
    found = [float(chosen.at(jnp.int32(k), 4.0)) for k in (0, 100, 200, 300, 1_000)]
    assert found == pytest.approx([0, 0, 0.5, 1, 1])


def test_periodic_l2_starts_on():
    """On for 500k frames, off for 100k, an update each 4."""
    chosen = l2.Settings(strength=1.0, on_frames=500_000, off_frames=100_000)
    moments = (0, 499_996, 500_000, 599_996, 600_000)
    found = [float(chosen.at(jnp.int32(frame // 4), 4.0)) for frame in moments]
    assert found == [1, 1, 0, 0, 1]


@pytest.mark.parametrize("periods", [(4, 0), (0, 4), (3, 8), (8, 3)])
def test_periodic_l2_is_on_and_off_for_an_update_at_least(periods):
    chosen = l2.Settings(on_frames=periods[0], off_frames=periods[1])
    key = "on_frames" if periods[0] < 4 else "off_frames"
    with pytest.raises(checks.ConfigError, match=rf"l2.{key} = \d: expected at least the 4 "):
        l2.make(chosen, subject()[1])


def test_l2_init_is_half_the_squared_distance():
    w, initial = jnp.array([1.0, -2.0, 3.0]), jnp.array([3.0, 1.0, -1.0])
    assert float(towards_initial.distance(w, initial, "l2")) == pytest.approx(29 / 2)
    params, of = subject()
    value, grads = loss_of("towards_initial", params, of)
    assert float(value) == 0
    assert float(optax.global_norm(grads)) == 0


def test_wasserstein_init_compares_sorted_numbers():
    w, initial = jnp.array([1.0, -2.0, 3.0]), jnp.array([3.0, 1.0, -1.0])
    assert float(towards_initial.distance(w, initial, "wasserstein")) == pytest.approx(1 / 3)
    permuted = jnp.array([-1.0, 3.0, 1.0])
    assert float(towards_initial.distance(permuted, initial, "wasserstein")) == 0


def test_parseval_by_hand():
    diagonal = jnp.diag(jnp.array([2.0, 1.0]))
    unscaled = (64 / 2) ** 2
    assert float(parseval.distance(diagonal, 1.0)) == pytest.approx(9 * unscaled)
    assert float(parseval.distance(diagonal, 2.0)) == pytest.approx(5 * unscaled)
    orthogonal = jnp.array([[0.6, -0.8], [0.8, 0.6]]) * 2**0.5
    assert float(parseval.distance(orthogonal, 2.0)) == pytest.approx(0, abs=1e-8)


def test_parseval_is_of_hidden_layers_alone():
    params, of = subject()
    _, grads = loss_of("parseval", params, of)
    assert float(jnp.sum(jnp.abs(grads["hidden"]["w"]))) > 0
    assert float(jnp.sum(jnp.abs(grads["output"]["w"]))) == 0


def test_spectral_regularization_by_hand():
    """Of diag(2, 1) with k = 2: (4 - 1)^2; its gradient is along the first direction alone."""
    params, of = subject({"hidden": {"w": jnp.diag(jnp.array([2.0, 1.0]))}})
    value, grads = loss_of("spectral", params, of, strength=1.0, iterations=40)
    assert float(value) == pytest.approx(9, rel=1e-4)
    np.testing.assert_allclose(grads["hidden"]["w"], [[24, 0], [0, 0]], atol=1e-2)


def test_spectral_regularization_leaves_sigmas_alone():
    params = {
        "hidden": {name: jnp.ones((2, 2)) for name in ("mu_w", "sigma_w")}
        | {name: jnp.ones(2) for name in ("mu_b", "sigma_b")}
    }
    layer = types.DeclaredLayer(
        "hidden", "hidden", ("mu_w", "sigma_w"), ("mu_b", "sigma_b"), ("sigma_w", "sigma_b")
    )
    _, of = subject(params)
    of = of._replace(declared=types.DeclaredNetwork((layer,)))
    _, grads = loss_of("spectral", params, of, strength=1.0)
    changed = {name for name, grad in grads["hidden"].items() if np.any(grad)}
    assert changed == {"mu_w", "mu_b"}


def test_relative_noise_has_a_share_of_each_layers_update():
    params, of = subject()
    chosen = noise.Settings(form="relative", scale=0.25)
    found = chosen.select(of, "noise")
    after = noise.add(params, jax.random.key(0), found, chosen)
    for layer in found:
        before, moved = layers.leaves_by_path(params), layers.leaves_by_path(after)
        change = {path: moved[path] - before[path] for path in layer.leaves.values()}
        ratio = layers.group_norm(change, layer) / layers.group_norm(before, layer)
        assert float(ratio) == pytest.approx(0.25, rel=1e-5)


def test_absolute_noise_has_its_scale():
    params, of = subject({"hidden": {"w": jnp.zeros((300, 300))}})
    chosen = noise.Settings(scale=0.1)
    after = noise.add(params, jax.random.key(0), chosen.select(of, "noise"), chosen)
    assert float(jnp.std(after["hidden"]["w"])) == pytest.approx(0.1, rel=0.02)


def test_noise_of_seeds_and_updates_differs():
    params, of = subject()
    transform = noise.make(noise.Settings(scale=1.0), of).transform
    other = jax.tree.map(lambda p: p + 1, params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    first, state = transform.update(zeros, transform.init(params))
    second, _ = transform.update(zeros, state)
    of_other, _ = transform.update(zeros, transform.init(other))
    drawn = [np.asarray(x["hidden"]["w"]) for x in (first, second, of_other)]
    assert (drawn[0] != drawn[1]).all()
    assert (drawn[0] != drawn[2]).all()


def test_weights_are_clipped_to_kappa_over_the_root_of_the_fan_in():
    params, of = subject()
    clipped = weight_clipping.make(weight_clipping.Settings(kappa=2.0), of)
    optimizer = clipped.constraint(optax.sgd(1.0))
    grads = jax.tree.map(jnp.zeros_like, params)
    grads["hidden"]["w"] = jnp.array([[0.0, 5.0], [0.0, 0.0]])
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    after = optax.apply_updates(params, updates)
    bound = 2 / 2**0.5
    np.testing.assert_allclose(after["hidden"]["w"], [[bound, -bound], [0, 1]], rtol=1e-6)
    np.testing.assert_allclose(after["hidden"]["b"], [1, 0])
    np.testing.assert_allclose(after["norm"]["scale"], [1, 1])


def _operate(name, of, params, updates, opt_state=(), **changes):
    module = plugins.find(base.PACKAGE, name, "name")
    operation = module.make(settings_of(name, **changes), of).operation
    state = types.TrainState(params, params, opt_state, jnp.int32(updates), {})
    after, _, _ = operation.apply(state, operation.init(params), jax.random.key(3), None)
    return after


def test_shrink_and_perturb_blends_when_it_is_due():
    params, of = subject({"hidden": {"w": jnp.full((200, 200), 5.0)}})
    period = {"period_frames": 40}
    early = _operate("shrink_and_perturb", of, params, 9, **period)
    np.testing.assert_array_equal(early.params["hidden"]["w"], params["hidden"]["w"])
    due = _operate("shrink_and_perturb", of, params, 10, share=0.8, **period).params["hidden"]["w"]
    assert float(jnp.mean(due)) == pytest.approx(4, abs=0.01)
    assert float(jnp.std(due)) == pytest.approx(0.2, rel=0.02)
    same = _operate("shrink_and_perturb", of, params, 10, share=1.0, **period)
    np.testing.assert_array_equal(same.params["hidden"]["w"], params["hidden"]["w"])


def test_shrink_and_perturb_towards_the_first_parameters():
    params, of = subject()
    chosen = shrink_and_perturb.Settings(towards="initial", share=0.9, period_frames=4)
    operation = shrink_and_perturb.make(chosen, of).operation
    initial = operation.init(params)
    moved = jax.tree.map(lambda p: p + 1, params)
    state = types.TrainState(moved, moved, (), jnp.int32(1), {})
    after, _, _ = operation.apply(state, initial, jax.random.key(3), None)
    np.testing.assert_allclose(after.params["hidden"]["w"], params["hidden"]["w"] + 0.9, rtol=1e-6)


def test_shrink_and_perturb_in_every_update():
    """A share of 1 - 1e-6 in float32: the pull is right to a part in a hundred where it can be."""
    params, of = subject({"hidden": {"w": jnp.full((2, 2), 1e-3)}})
    chosen = shrink_and_perturb.Settings(towards="initial", share=1 - 1e-6, period_frames=4)
    operation = shrink_and_perturb.make(chosen, of).operation
    state = types.TrainState(params, params, (), jnp.int32(1), {})
    initial = operation.init(jax.tree.map(lambda p: p + 1, params))
    after, _, _ = operation.apply(state, initial, jax.random.key(3), None)
    np.testing.assert_allclose(after.params["hidden"]["w"] - 1e-3, 1e-6, rtol=1e-2)


def test_decayed_and_noisy_updates_are_adamw_with_noise():
    """Dohare et al. 2024: w - rate (1 + decay w) + N(0, scale) in a first update."""
    chosen = optimizers.Settings(
        name="adamw", learning_rate=0.1, kwargs={"weight_decay": 0.5, "eps": 0.0}
    )
    params, of = subject({"hidden": {"w": jnp.full((200, 200), 2.0)}})
    used = [noise.make(noise.Settings(scale=0.01), of)]
    optimizer = optimizers.make(chosen, 4.0, of.declare, used)
    grads = jax.tree.map(lambda p: jnp.full(p.shape, 1e-3), params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    assert float(jnp.mean(updates["hidden"]["w"])) == pytest.approx(-0.1 * (1 + 0.5 * 2), abs=1e-3)
    assert float(jnp.std(updates["hidden"]["w"])) == pytest.approx(0.01, rel=0.02)


def test_the_tortoise_is_an_average_by_hand_and_the_hare_returns_to_it():
    params, of = subject({"hidden": {"w": jnp.zeros((2, 2))}})
    optimizer = optax.adam(1e-3)
    opt_state = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params))[1]
    for moments in ("keep", "reset"):
        chosen = hare_and_tortoise.Settings(momentum=0.75, return_period_frames=12, moments=moments)
        operation = hare_and_tortoise.make(chosen, of).operation
        tortoise, expected = operation.init(params), 0.0
        for k, hare in enumerate((4.0, 8.0, -2.0), 1):
            now = {"hidden": {"w": jnp.full((2, 2), hare)}}
            state = types.TrainState(now, now, opt_state, jnp.int32(k), {})
            after, tortoise, _ = operation.apply(state, tortoise, jax.random.key(0), None)
            expected = 0.75 * expected + 0.25 * hare
            np.testing.assert_allclose(tortoise["['hidden']['w']"], expected)
            found = expected if k == 3 else hare
            np.testing.assert_allclose(after.params["hidden"]["w"], found)
        np.testing.assert_array_equal(after.target_params["hidden"]["w"], -2)
        kept = float(jnp.sum(after.opt_state[0].mu["hidden"]["w"]))
        assert kept == pytest.approx(0.4 if moments == "keep" else 0)


def test_a_layer_reset_leaves_the_other_layers_as_they_are():
    params, of = subject()
    optimizer = optax.adam(1e-3)
    grads = jax.tree.map(jnp.ones_like, params)
    opt_state = optimizer.update(grads, optimizer.init(params))[1]
    after = _operate("layer_reset", of, params, 10, opt_state, layers="output", period_frames=40)
    fresh = of.init_params(jax.random.key(3))
    for tree in (after.params, after.target_params):
        np.testing.assert_array_equal(tree["output"]["w"], fresh["output"]["w"])
        np.testing.assert_array_equal(tree["hidden"]["w"], params["hidden"]["w"])
    moments = after.opt_state[0]
    assert float(jnp.sum(jnp.abs(moments.mu["output"]["w"]))) == 0
    assert float(jnp.sum(jnp.abs(moments.nu["output"]["w"]))) == 0
    np.testing.assert_array_equal(moments.mu["hidden"]["w"], opt_state[0].mu["hidden"]["w"])
    early = _operate("layer_reset", of, params, 11, opt_state, layers="output", period_frames=40)
    np.testing.assert_array_equal(early.params["output"]["w"], params["output"]["w"])


# Of all of them.


# Compiled once for all tests of an agent; what runs a few times is faster uncompiled.
_jitted = functools.cache(lambda agent: jax.jit(agent.update))


def _run(agent, num_updates=3, state=None, done=0, update=None):
    state = state or agent.init(jax.random.key(0), small_agents.observations(1))
    update = update or _jitted(agent)
    for k in range(done, num_updates):
        batch = small_agents.transitions(8, seed=10 + k)
        updated = update(state, jax.random.key(100 + k), batch, jnp.ones(8))
        assert all(np.isfinite(value) for value in updated.metrics.values())
        state = updated.state
    return state


# Constraints, which would hold the layers that NaP holds: refused together with it.
_CONSTRAINTS = ("row_projection", "spectral_ball", "weight_clipping")


@functools.cache
def _make(name=None, is_strong=True, is_projected=True, agent="dqn"):
    """An agent with the intervention, and with NaP unless it is a constraint."""
    values = (STRONG if is_strong else OFF)[name] if name else {}
    listed = (settings_of(name, **values),) if name else ()
    optimizer = {"learning_rate": 1e-2}
    if is_projected and name not in _CONSTRAINTS:
        optimizer["projection"] = small_agents.PROJECTED
    return small_agents.make(agent, interventions=listed, optimizer=optimizer, norm="layer")


# Their loops are compiled anew in every call that is not compiled as a whole.
_LOOPING = ("c_chain", "continual_backprop", "spectral", "spectral_ball", "trigger")


@functools.cache
def _run_plain(is_projected):
    agent = _make(is_projected=is_projected)
    return _run(agent, update=agent.update)


def _close(first, second):
    pairs = zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params))
    return all(np.allclose(x, y, rtol=1e-3, atol=1e-4) for x, y in pairs)


def test_every_intervention_is_tested_here():
    assert set(NAMES) == STRONG.keys() == OFF.keys() | {"row_projection", "trac"}


@pytest.mark.parametrize("name", NAMES)
def test_it_changes_a_run_and_its_weakest_form_does_not(name):
    plain = _run_plain(name not in _CONSTRAINTS)
    assert not _close(plain, _run(_make(name)))
    if name not in OFF:
        return
    weakest = _make(name, is_strong=False)
    off = _run(weakest, update=None if name in _LOOPING else weakest.update)
    for x, y in zip(jax.tree.leaves(plain.params), jax.tree.leaves(off.params)):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7)


_RESETTING = ("redo", "continual_backprop", "self_normalized_resets", "layer_reset", "trigger")


@pytest.mark.parametrize("name", [*_RESETTING, "hare_and_tortoise"])
def test_moments_that_can_not_be_reset_are_refused(name):
    own = {"moments": "reset"} if name == "hare_and_tortoise" else {}
    listed = (settings_of(name, **STRONG[name], **own),)
    optimizer = {"name": "novograd", "kwargs": {}}
    with pytest.raises(
        checks.ConfigError, match=r"optimizer.name = 'novograd': expected adam_ages"
    ):
        small_agents.make("dqn", interventions=listed, optimizer=optimizer)
    # Which needs no moments.
    listed = (settings_of("shrink_and_perturb", period_frames=8),)
    small_agents.make("dqn", interventions=listed, optimizer=optimizer)


@pytest.mark.parametrize(
    "name", ["adam_ages", "adam", "adamw", "amsgrad", "adabelief", "lion", "rmsprop", "sgd"]
)
def test_moments_that_are_reset_are_those_of_a_new_run(name):
    """Momentum too, which SGD has if asked."""
    agent = small_agents.make(
        "dqn",
        interventions=(dataclasses.replace(RESET, period_frames=8, layers=".*"),),
        optimizer={"name": name, "kwargs": {"momentum": 0.9} if name == "sgd" else {}},
    )
    state = _run(agent, 2)
    moments = optimizers._parts(state.opt_state, optimizers.ChainState)[0].moments
    arrays = [leaf for leaf in jax.tree.leaves(moments) if leaf.ndim]
    assert arrays
    assert all(not leaf.any() for leaf in arrays)


@pytest.mark.parametrize("name", NAMES)
def test_supervised_learning_takes_it_too(name):
    is_projected = name not in _CONSTRAINTS
    agent = _make(name, agent="classifier")
    first, last = _run(agent, 0), _run(agent)
    plain = _run(_make(is_projected=is_projected, agent="classifier"))
    assert not _close(plain, last)
    if is_projected:
        after = agent.norms(last.params)
        for layer, norm in agent.norms(first.params).items():
            assert float(after[layer]) == pytest.approx(float(norm), rel=1e-5), layer


@pytest.mark.parametrize("name", [name for name in NAMES if name not in _CONSTRAINTS])
def test_norms_stay_on_their_spheres(name):
    """NaP's, after each of several updates, whatever the intervention does."""
    agent = _make(name)
    state = _run(agent, 0)
    norms = agent.norms(state.params)
    for done in range(3):
        state = _run(agent, done + 1, state, done)
        after = agent.norms(state.params)
        for layer, norm in norms.items():
            assert float(after[layer]) == pytest.approx(float(norm), rel=1e-5), layer


@pytest.mark.parametrize("name", NAMES)
def test_seeds_in_one_program_equal_separate_runs(name):
    agent = _make(name)
    seeds = (0, 1)
    states = [agent.init(jax.random.key(k), small_agents.observations(1)) for k in seeds]
    axes = types.TrainState(0, 0, 0, None, 0)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *states)._replace(updates=states[0].updates)
    update = lambda s, r, b, w: agent.update(s, r, b, w).state  # noqa: E731
    together = jax.vmap(update, in_axes=(axes, 0, 0, 0), out_axes=axes)
    if name in _LOOPING:
        together = jax.jit(together)
    for k in range(3):
        keys = [jax.random.key(100 * k + seed) for seed in seeds]
        batches = [small_agents.transitions(8, seed=20 + k + 7 * seed) for seed in seeds]
        both = jax.tree.map(lambda *x: jnp.stack(x), *batches)
        stacked = together(stacked, jnp.stack(keys), both, jnp.ones((2, 8)))
        alone = [_jitted(agent)(s, r, b, jnp.ones(8)) for s, r, b in zip(states, keys, batches)]
        states = [updated.state for updated in alone]
    for i, state in enumerate(states):
        for x, y in zip(jax.tree.leaves(state.params), jax.tree.leaves(stacked.params)):
            np.testing.assert_allclose(x, y[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_goes_on_bit_for_bit(name, tmp_path):
    """Saved after two of five updates, each of which may do what it does."""
    agent = _make(name)
    before = _run(agent, 2)
    straight = _run(agent, 5, state=before, done=2)
    arrays = state_arrays.to_arrays(before)
    restored = state_arrays.from_arrays(tmp_path, arrays, jax.eval_shape(lambda: before))
    resumed = _run(agent, 5, state=restored, done=2)
    expected, found = (state_arrays.to_arrays(x) for x in (straight, resumed))
    assert expected.keys() == found.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(settings_of(name), "layers")])
def test_a_pattern_that_fits_no_layer_is_refused_in_one_line(name):
    _, of = subject()
    module = plugins.find(base.PACKAGE, name, "name")
    with pytest.raises(checks.ConfigError) as error:
        module.make(settings_of(name, layers="conv_9"), of)
    message = str(error.value)
    assert "\n" not in message
    assert f"{name}.layers = 'conv_9': expected a pattern that is found in one of hidden" in message


@pytest.mark.parametrize("module", [layer_reset, shrink_and_perturb])
def test_a_period_shorter_than_an_update_is_refused(module):
    _, of = subject()
    with pytest.raises(checks.ConfigError, match=r"period_frames = 3: expected at least the 4 "):
        module.make(dataclasses.replace(module.Settings(), period_frames=3, layers=".*"), of)


def test_keys_that_are_left_out_have_their_defaults():
    (parsed,) = base.parse([{"module": "l2", "strength": 0.5}])
    assert parsed == l2.Settings(strength=0.5)
    with pytest.raises(checks.ConfigError, match=r"interventions\[0\].*strenght"):
        base.parse([{"module": "l2", "strenght": 0.5}])
    (nested,) = base.parse([{"module": "trigger", "operation": {"module": "layer_reset"}}])
    assert nested == trigger.Settings(operation=layer_reset.Settings())
    with pytest.raises(checks.ConfigError, match=r"interventions\[0\].operation.layer = "):
        base.parse([{"module": "trigger", "operation": {"module": "redo", "layer": "x"}}])
    assert spectral.Settings().module == "spectral"
