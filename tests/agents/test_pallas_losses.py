"""The kernel of C51's losses beside rainbow_losses.py, interpreted on a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.few_kernels import rainbow_losses
from core import formulations, types
from networks.heads import c51

if not formulations.has_pallas():
    pytest.skip("this JAX has no Pallas to write it with", allow_module_level=True)

from agents.few_kernels import pallas_losses

_BATCH, _ACTIONS, _ATOMS = 32, 6, 51
_SUPPORT = c51.support(10.0, _ATOMS)


def _inputs(seed):
    """Logits of three passes and transitions, some of which leave the support or end."""
    random = np.random.RandomState(seed)
    logits = 3 * random.normal(size=(3, _BATCH, _ACTIONS, _ATOMS)).astype(np.float32)
    transition = types.Transition(
        s_tm1=None,
        a_tm1=random.randint(_ACTIONS, size=_BATCH),
        r_t=(6 * random.normal(size=_BATCH)).astype(np.float32),
        discount_t=random.choice(np.float32([0, 0.9, 0.97]), size=_BATCH),
        s_t=None,
    )
    weights = random.uniform(size=_BATCH).astype(np.float32)
    return list(logits), transition, weights


def _expected(online, others, transition, weights):
    outputs = [c51.distribution(x, _SUPPORT) for x in (online, *others)]
    losses = rainbow_losses.losses(outputs[0], outputs[1], outputs[-1], transition, _SUPPORT)
    return jnp.sum(weights * losses), (losses, outputs[0].q_values)


def _found(online, others, transition, weights):
    losses, q_values = pallas_losses.losses([online, *others], transition, _SUPPORT)
    return jnp.sum(weights * losses), (losses, q_values)


def _close(found, expected):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6), found, expected
    )


@pytest.mark.parametrize("num_others", [2, 1])
def test_losses_values_and_gradients_are_the_same(num_others):
    """One other pass: the target network chooses the action."""
    (online, *others), *rest = _inputs(0)
    arguments = (online, others[:num_others], *rest)
    both = [jax.jit(jax.value_and_grad(f, has_aux=True)) for f in (_found, _expected)]
    found, expected = (f(*arguments) for f in both)
    _close(found, expected)
    assert np.abs(found[1]).max() > 0.1


def test_seeds_are_independent():
    inputs = [_inputs(seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *inputs)
    one = lambda logits, *rest: _found(logits[0], logits[1:], *rest)[1]  # noqa: E731
    found = jax.jit(jax.vmap(one))(*stacked)
    for i, each in enumerate(inputs):
        _close(jax.tree.map(lambda x, i=i: x[i], found), one(*each))
