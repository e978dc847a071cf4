"""Adam with ages: optax's as long as nothing is reset, and a new one's where it is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plasticity import adam_ages, moments


def _grads(step):
    random = np.random.RandomState(step)
    return {
        "a": jnp.asarray(random.normal(size=(4, 3)), jnp.float32),
        "b": jnp.asarray(random.normal(size=5) * 1e-4, jnp.float32),
    }


def _params():
    return jax.tree.map(jnp.ones_like, _grads(0))


def test_it_is_adam_bit_for_bit():
    ours, optaxs = (
        make(1e-2, b1=0.9, b2=0.99, eps=1e-6) for make in (adam_ages.adam_ages, optax.adam)
    )
    states = [x.init(_params()) for x in (ours, optaxs)]
    steps = [jax.jit(x.update) for x in (ours, optaxs)]
    for step in range(50):
        (found, states[0]), (expected, states[1]) = (
            update(_grads(step), state) for update, state in zip(steps, states)
        )
        for name in found:
            np.testing.assert_array_equal(found[name], expected[name])


def test_a_reset_element_goes_on_as_in_a_new_run():
    optimizer = adam_ages.adam_ages(1.0)
    state = optimizer.init(_params())
    for step in range(20):
        _, state = optimizer.update(_grads(step), state)
    mask = jnp.zeros((4, 3), bool).at[:, 1].set(True)
    before = optimizer.update(_grads(20), state)[0]
    state = moments.reset(state, {"['a']": mask})
    fresh = optimizer.init(_params())
    for step in range(20, 25):
        updates, state = optimizer.update(_grads(step), state)
        expected, fresh = optimizer.update(_grads(step), fresh)
        np.testing.assert_allclose(updates["a"][:, 1], expected["a"][:, 1], rtol=1e-4)
        if step == 20:
            np.testing.assert_array_equal(updates["a"][:, 0], before["a"][:, 0])
            np.testing.assert_array_equal(updates["b"], before["b"])


@pytest.mark.parametrize("b1", [0.0, 0.9])
def test_bias_corrections_of_elements_are_the_exact_ones(b1):
    """A steady gradient of 1 is an update of 1 at any age, be the moments those of that age."""
    optimizer = adam_ages.scale_by_adam_ages(b1, 0.999, eps=0.0)
    ages = np.array([0, 1, 10, 1_000, 100_000])
    moment = lambda decay: {"a": jnp.asarray(1 - decay**ages, jnp.float32)}  # noqa: E731
    state = optimizer.init({"a": jnp.ones(5)})._replace(
        count=jnp.int32(200_000), ages={"a": jnp.asarray(ages)}, mu=moment(b1), nu=moment(0.999)
    )
    updates, _ = optimizer.update({"a": jnp.ones(5)}, state)
    np.testing.assert_allclose(updates["a"], np.ones(5), rtol=1e-4)


def test_moments_without_ages_overshoot_by_as_much_as_the_docs_say():
    """A steady gradient, a long run, then moments at 0 with the count kept: 6.57 times, step 12."""
    optimizer = optax.scale_by_adam()
    params = {"a": jnp.ones(1)}
    grads = {"a": jnp.ones(1)}
    state = optimizer.init(params)._replace(count=jnp.int32(100_000))
    state = moments.reset(state, {"['a']": True})
    found = []
    for _ in range(12):
        updates, state = optimizer.update(grads, state)
        found.append(float(updates["a"][0]))
    np.testing.assert_allclose(found[0], 3.16, atol=0.01)
    np.testing.assert_allclose(max(found), 6.57, atol=0.01)
    np.testing.assert_allclose(found[11], 6.57, atol=0.01)
