"""TRAC against the published formulas in NumPy, and its error function against SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

from plasticity.interventions import trac


def test_the_error_function_is_right_to_float32():
    """Within 3e-6 from 1e-9 to 9, on both sides; odd; 0 at 0; finite for whatever comes."""
    x = np.concatenate([np.logspace(-9, 0, 200), np.linspace(0.01, 9, 2_000)]).astype(np.float32)
    expected = special.erfi(x.astype(np.float64))
    np.testing.assert_allclose(trac.erfi(jnp.asarray(x)), expected, rtol=3e-6)
    np.testing.assert_allclose(trac.erfi(jnp.asarray(-x)), -expected, rtol=3e-6)
    assert float(trac.erfi(jnp.float32(0))) == 0
    assert np.isfinite(trac.erfi(jnp.array([20.0, -1e30]))).all()


def test_the_constant_is_the_error_functions():
    np.testing.assert_allclose(trac._ERFI_OF_HALF_ROOT, special.erfi(1 / np.sqrt(2)), rtol=1e-12)


def _numpy_trace(w0, scale, num_updates, rate, chosen):
    """Parameters after each update on the loss sum(scale w^2) / 2, by gradient descent inside."""
    betas = np.array(chosen.betas)
    w, s = w0.copy(), np.zeros(betas.size)
    variance, sigma = np.zeros(betas.size), np.full(betas.size, chosen.epsilon)
    found = []
    for _ in range(num_updates):
        g = scale * w
        d = (w - w0) / (s.sum() + chosen.epsilon)
        h = (d * g).sum()
        variance = betas**2 * variance + h**2
        sigma = betas * sigma - h
        erfi = special.erfi(sigma / (np.sqrt(2) * np.sqrt(variance) + chosen.epsilon))
        s = chosen.start_scale / special.erfi(1 / np.sqrt(2)) * erfi
        w = w0 + max(s.sum(), 0) * (d - rate * g)
        found.append((w, s))
    return found


def test_updates_equal_a_numpy_trace():
    """Five with scales that matter at once, and forty that begin at 1e-8, in what moved."""
    w0, scale = np.array([1.0, -2.0, 0.5]), np.array([1.0, 0.5, 2.0])
    for chosen, num_updates in (
        (trac.Settings(start_scale=0.1, epsilon=1e-3), 5),
        (trac.Settings(), 40),
    ):
        optimizer = trac.around(optax.sgd(0.1), chosen)
        params = {"a": jnp.asarray(w0[:2], jnp.float32), "b": jnp.asarray(w0[2:], jnp.float32)}
        state = optimizer.init(params)
        update = jax.jit(optimizer.update)
        for expected, s in _numpy_trace(w0, scale, num_updates, 0.1, chosen):
            grads = {"a": scale[:2] * params["a"], "b": scale[2:] * params["b"]}
            updates, state = update(grads, state, params)
            params = optax.apply_updates(params, updates)
            moved = np.concatenate([state.own.distance["a"], state.own.distance["b"]])
            np.testing.assert_allclose(moved, expected - w0, rtol=2e-3, atol=1e-12)
            np.testing.assert_allclose(state.own.tuners.scale, s, rtol=2e-3, atol=1e-14)
            found = np.concatenate([params["a"], params["b"]])
            np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_others_do_to_the_parameters_is_kept():
    optimizer = trac.around(optax.sgd(0.1), trac.Settings())
    params = {"w": jnp.ones(3)}
    state = optimizer.init(params)
    grads = {"w": jnp.ones(3)}
    _, state = optimizer.update(grads, state, params)
    shifted = {"w": params["w"].at[0].add(-1e-3)}
    _, after = optimizer.update(grads, state, shifted)
    assert abs(float(after.own.distance["w"][0])) > 100 * abs(float(after.own.distance["w"][1]))
