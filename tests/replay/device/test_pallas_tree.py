"""Kernels of the sum tree beside sum_tree.py, interpreted on a CPU."""

import jax
import numpy as np
import pytest

from core import formulations
from replay.device import sum_tree

if not formulations.has_pallas():
    pytest.skip("this JAX has no Pallas to write them with", allow_module_level=True)

from replay.device import pallas_tree

_ROWS, _ENVS, _DRAWS = 70, 2, 500


def _tree(seed, scale=1.0):
    """A tree of random weights, some of them 0, and flags; its last block is not full."""
    random = np.random.RandomState(seed)
    weights = scale * random.uniform(size=(_ROWS, _ENVS)) * random.binomial(1, 0.8, (_ROWS, _ENVS))
    present = random.uniform(size=(_ROWS, _ENVS)) < 0.7
    rows = np.arange(_ROWS)
    empty = sum_tree.init(_ROWS, _ENVS)
    return sum_tree.set_rows(empty, rows, _ENVS, weights.astype(np.float32), present)


def _uniform(seed):
    return np.random.RandomState(seed).uniform(size=(2, _DRAWS)).astype(np.float32)


@pytest.mark.parametrize(("mix", "scale"), [(1e-3, 1.0), (0.0, 1.0), (1.0, 1.0), (0.1, 0.0)])
def test_draws_are_those_of_the_tree(mix, scale):
    tree, uniform = _tree(0, scale), _uniform(1)
    expected, found = (
        jax.jit(module.sample, static_argnums=2)(tree, uniform, mix)
        for module in (sum_tree, pallas_tree)
    )
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


def test_a_draw_at_the_end_is_a_leaf_that_is_present():
    ends = np.array([[0.0, 1 - 2**-24]] * 2, np.float32)
    tree = _tree(2)
    leaves, _ = pallas_tree.sample(tree, np.repeat(ends, 2, axis=1), 1e-3)
    assert np.asarray(tree.present).ravel()[np.asarray(leaves)].all()


def _changes(seed):
    """Leaves with duplicates, some not to be changed, and priorities."""
    random = np.random.RandomState(seed)
    leaves = random.choice(12, size=32).astype(np.int32) * 7
    return leaves, random.uniform(size=32) < 0.8, random.uniform(size=32).astype(np.float32)


def _expected(tree, largest, leaves, is_stored, priorities):
    is_live = np.asarray(tree.present).ravel()[leaves] & is_stored
    leaves = np.where(is_live, leaves, tree.present.size)
    largest = max(largest, priorities[is_live].max())
    return sum_tree.set_weights(tree, leaves, priorities**0.5), largest


def _set_priorities(tree, largest, *changes):
    return pallas_tree.set_priorities(tree, largest, *changes, 0.5)


@pytest.mark.parametrize("largest", [0.1, 2.0])
def test_priorities_are_set_as_in_the_tree(largest):
    tree, changes = _tree(3), _changes(4)
    expected = _expected(tree, largest, *changes)
    found = jax.jit(_set_priorities)(tree, np.float32(largest), *changes)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), found, expected)
    np.testing.assert_array_equal(found[0].present, tree.present)
    assert (np.asarray(found[0].weights) != np.asarray(tree.weights)).sum() > 5


def test_seeds_are_independent():
    trees, changes, uniform = zip(*((_tree(i), _changes(i + 5), _uniform(i)) for i in range(2)))
    stack = lambda parts: jax.tree.map(lambda *x: np.stack(x), *parts)  # noqa: E731
    draw = lambda tree, uniform: pallas_tree.sample(tree, uniform, 1e-3)  # noqa: E731
    drawn = jax.jit(jax.vmap(draw))(stack(trees), stack(uniform))
    ones = np.ones(2, np.float32)
    changed = jax.jit(jax.vmap(_set_priorities))(stack(trees), ones, *stack(changes))
    for i in range(2):
        np.testing.assert_array_equal(drawn[0][i], draw(trees[i], uniform[i])[0])
        expected = _expected(trees[i], 1.0, *changes[i])
        close = lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=1e-6)  # noqa: E731
        jax.tree.map(close, changed, expected)
