"""A second implementation, in NumPy and float64: a small network, gradients, one optimizer's step.

Gradients are central differences of a loss whose targets are held fixed, so that nothing of the
agents' own derivation is in them.
"""

import jax
import numpy as np

LEARNING_RATE = 1e-2
RMSPROP = {"decay": 0.95, "eps": 0.01 / 32**2, "centered": True}
ADAM = {"b1": 0.9, "b2": 0.999, "eps": 0.01 / 32}


def float64(tree):
    """A tree of arrays in float64, which can be changed."""
    return jax.tree.map(lambda x: np.array(x, np.float64), tree)


def dense(params, module, x):
    """A linear layer; one bias of several outputs, too."""
    return x @ params[module]["w"] + params[module]["b"]


def features(params, x):
    """The torso's, [B, F]."""
    return np.maximum(dense(params, "torso/linear_0", x), 0)


def head(params, x, num_actions=3):
    """The plain head's numbers, [B, A, K]."""
    hidden = np.maximum(dense(params, "action_hidden", x), 0)
    return dense(params, "action_output", hidden).reshape(len(x), num_actions, -1)


def gradient(loss, params, step=1e-6):
    """Central differences of loss(params) in every element."""
    grads = jax.tree.map(np.zeros_like, params)
    for leaf, grad in zip(jax.tree.leaves(params), jax.tree.leaves(grads)):
        for index in np.ndindex(leaf.shape):
            kept = leaf[index]
            values = []
            for change in (step, -step):
                leaf[index] = kept + change
                values.append(loss(params))
            leaf[index] = kept
            grad[index] = (values[0] - values[1]) / (2 * step)
    return grads


def clipped(grads, norm):
    """Gradients of a global norm of at most `norm`; 0: as they are."""
    total = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(grads)))
    factor = min(1, norm / total) if norm else 1
    return jax.tree.map(lambda g: factor * g, grads)


def adam(params, grads):
    """The first step, from moments of 0: both are corrected to the gradient and its square."""
    step = lambda p, g: p - LEARNING_RATE * g / (np.abs(g) + ADAM["eps"])  # noqa: E731
    return jax.tree.map(step, params, grads)


def rmsprop(params, grads):
    """The first step of the centred kind, from moments of 0 that are not corrected."""
    share = 1 - RMSPROP["decay"]

    def step(p, g):
        variance = share * g**2 - (share * g) ** 2
        return p - LEARNING_RATE * g / np.sqrt(variance + RMSPROP["eps"])

    return jax.tree.map(step, params, grads)


def assert_close(found, expected):
    """Within what float32 leaves of both."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), found, expected
    )
