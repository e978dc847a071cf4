"""Adam with ages: optax's as long as nothing is reset, and a new one's where it is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

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
        np.testing.assert_array_equal(updates["a"][:, 1], expected["a"][:, 1])
        if step == 20:
            np.testing.assert_array_equal(updates["a"][:, 0], before["a"][:, 0])
            np.testing.assert_array_equal(updates["b"], before["b"])


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
