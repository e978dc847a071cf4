"""The sum tree: what it draws and how often, and that its sums stay true."""

import jax
import numpy as np
import pytest
from scipy import stats

from replay.device import sum_tree

# The largest float32 below 1.
ALMOST_ONE = np.float32(1 - 2**-24)

# A true hypothesis is rejected once in so many tests; the seeds are fixed, so never by chance.
REJECTION_P = 1e-4

sample = jax.jit(sum_tree.sample)
set_weights = jax.jit(sum_tree.set_weights)
set_rows = jax.jit(sum_tree.set_rows, static_argnums=2)


def make_tree(weights, present):
    """A tree of [rows, environments] weights and flags."""
    weights, present = np.asarray(weights, np.float32), np.asarray(present, bool)
    rows, num_envs = weights.shape
    return set_rows(sum_tree.init(rows, num_envs), np.arange(rows), num_envs, weights, present)


def random_weights(seed, rows, num_envs):
    """Weights [rows, environments] with some zeros, and flags: most leaves are present."""
    random = np.random.RandomState(seed)
    weights = random.uniform(size=(rows, num_envs)) ** 3 * random.binomial(1, 0.8, (rows, num_envs))
    return weights.astype(np.float32), random.uniform(size=(rows, num_envs)) < 0.7


def draw_uniform(seed, size):
    """Numbers float32 [2, size] for as many draws."""
    return np.random.RandomState(seed).uniform(size=(2, size), high=ALMOST_ONE).astype(np.float32)


def exact_probabilities(weights, present, uniform_mix):
    """The mixed distribution over the flat leaves, in float64."""
    weights = np.where(present, weights, 0).astype(np.float64).ravel()
    present = np.asarray(present, np.float64).ravel()
    mix = uniform_mix if weights.sum() > 0 else 1.0
    share = weights / weights.sum() if weights.sum() > 0 else np.zeros_like(weights)
    return (1 - mix) * share + mix * present / present.sum()


def assert_frequencies(leaves, probabilities):
    """Chi-squared test of drawn leaves; a leaf of probability 0 must not occur at all."""
    counts = np.bincount(np.asarray(leaves), minlength=len(probabilities))
    assert len(counts) == len(probabilities)
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    expected = probabilities[possible] / probabilities.sum() * counts.sum()
    assert expected.min() > 5, "too few draws for the test to hold"
    assert stats.chisquare(counts[possible], expected).pvalue > REJECTION_P


@pytest.mark.parametrize("uniform_mix", [0.05, 0.3, 1.0])
def test_frequencies_are_those_of_weights_mixed_with_uniform(uniform_mix):
    weights, present = random_weights(0, rows=20, num_envs=3)
    uniform = draw_uniform(1, 20_000)
    leaves, _ = sample(make_tree(weights, present), uniform, uniform_mix)
    assert_frequencies(leaves, exact_probabilities(weights, present, uniform_mix))


def test_without_mixing_frequencies_are_those_of_the_weights_alone():
    weights = np.array([[0.0, 1.0], [2.0, 0.0], [3.0, 4.0]])
    present = np.array([[True, True], [True, True], [False, True]])
    uniform = draw_uniform(2, 20_000)
    leaves, probabilities = sample(make_tree(weights, present), uniform, 0.0)
    expected = np.array([0, 1, 2, 0, 0, 4]) / 7
    assert_frequencies(leaves, expected)
    np.testing.assert_allclose(probabilities, expected[leaves], rtol=1e-6)


@pytest.mark.parametrize("uniform_mix", [0.0, 1e-3, 0.5])
def test_reported_probabilities_are_exact(uniform_mix):
    weights, present = random_weights(3, rows=70, num_envs=2)
    uniform = draw_uniform(4, 5000)
    leaves, probabilities = sample(make_tree(weights, present), uniform, uniform_mix)
    expected = exact_probabilities(weights, present, uniform_mix)[np.asarray(leaves)]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)


def test_if_all_weights_are_zero_present_leaves_are_drawn_uniformly():
    _, present = random_weights(5, rows=20, num_envs=3)
    tree = make_tree(np.zeros((20, 3)), present)
    uniform = draw_uniform(6, 20_000)
    leaves, probabilities = sample(tree, uniform, 1e-3)
    assert_frequencies(leaves, present.ravel() / present.sum())
    np.testing.assert_allclose(probabilities, 1 / present.sum(), rtol=1e-6)


def uniforms_at_boundaries(probabilities, steps=6):
    """Float32 within some units of the last place of each boundary of the distribution."""
    boundaries = np.concatenate([[0], np.cumsum(probabilities)]).astype(np.float32)
    below = above = boundaries
    found = [boundaries]
    for _ in range(steps):
        below, above = np.nextafter(below, np.float32(-1)), np.nextafter(above, np.float32(2))
        found += [below, above]
    return np.clip(np.concatenate(found), 0, ALMOST_ONE)


@pytest.mark.parametrize("uniform_mix", [0.0, 1e-3])
def test_rounding_at_a_boundary_never_leads_to_an_absent_leaf(uniform_mix):
    """Where float32 sums are off by a last bit the draw still is a leaf that can be drawn."""
    weights, present = random_weights(7, rows=900, num_envs=1)
    present[60:120] = False  # Two whole blocks of 30 rows.
    probabilities = exact_probabilities(weights, present, uniform_mix)
    blocks = probabilities.reshape(30, 30)
    middles = np.cumsum(blocks.sum(1)) - blocks.sum(1) / 2
    pairs = [
        (np.full_like(u, middles[i]), u)
        for i, block in enumerate(blocks)
        if block.sum() > 0
        for u in [uniforms_at_boundaries(block / block.sum())]
    ]
    u = uniforms_at_boundaries(blocks.sum(1))
    pairs += [(u, np.zeros_like(u)), (u, np.full_like(u, ALMOST_ONE))]
    uniform = np.float32(np.concatenate(pairs, axis=1))
    leaves, drawn = sample(make_tree(weights, present), uniform, uniform_mix)
    assert np.all(probabilities[np.asarray(leaves)] > 0)
    assert np.all(np.asarray(drawn) > 0)


def test_the_ends_of_the_unit_interval_give_the_first_and_the_last_possible_leaf():
    weights, present = np.ones((6, 2)), np.ones((6, 2), bool)
    present[0], weights[1, 0] = False, 0.0
    present[5], weights[4, 1] = False, 0.0
    uniform = [[0.0, ALMOST_ONE], [0.0, ALMOST_ONE]]
    leaves, _ = sample(make_tree(weights, present), np.float32(uniform), 0.0)
    assert leaves.tolist() == [3, 8]


def test_rare_leaves_are_told_apart():
    """Within a block of a millionth of the mass the leaves still have their own frequencies.

    One float32 for the whole tree would reach eight of these hundred leaves.
    """
    weights = np.ones((10_000, 1), np.float32)
    weights[:100, 0] = np.linspace(1e-4, 3e-4, 100)
    uniform = draw_uniform(8, 20_000)
    uniform[0] = 0.0
    leaves, probabilities = sample(make_tree(weights, weights > 0), uniform, 0.0)
    np.testing.assert_allclose(probabilities, weights[np.asarray(leaves), 0] / weights.sum(), 1e-5)
    assert_frequencies(leaves, weights[:100, 0].astype(np.float64))


def flat(tree, size):
    """The first `size` weights and flags of a tree; the blocks may have room for more."""
    return np.asarray(tree.weights).ravel()[:size], np.asarray(tree.present).ravel()[:size]


@pytest.mark.parametrize(("rows", "num_envs"), [(50, 1), (37, 4), (5, 16)])
def test_sums_stay_exact_over_many_changes(rows, num_envs):
    """After 400 random changes: weights and counts as a model's, sums to a rounding error."""
    random = np.random.RandomState(rows)
    tree = sum_tree.init(rows, num_envs)
    model_weights, model_present = (
        np.zeros((rows, num_envs), np.float32),
        np.zeros((rows, num_envs), bool),
    )
    for step in range(400):
        count = 3 if step % 2 else 5
        # Sizes from a ten-thousandth to ten thousand: running differences would lose digits.
        weights = np.float32(10 ** random.uniform(-4, 4, (count, num_envs)))
        present = random.uniform(size=(count, num_envs)) < 0.8
        if step % 2:
            chosen = random.choice(rows, count, replace=False)
            tree = set_rows(tree, chosen, num_envs, weights, present)
            model_weights[chosen] = np.where(present, weights, 0)
            model_present[chosen] = present
        else:
            chosen = random.choice(rows * num_envs, count, replace=False)
            is_there = model_present.ravel()[chosen]
            leaves = np.where(is_there, chosen, tree.present.size)
            tree = set_weights(tree, leaves, weights[:, 0])
            model_weights.ravel()[chosen[is_there]] = weights[is_there, 0]
    found_weights, found_present = flat(tree, rows * num_envs)
    np.testing.assert_array_equal(found_weights, model_weights.ravel())
    np.testing.assert_array_equal(found_present, model_present.ravel())
    block_size = tree.weights.shape[1]
    starts = np.arange(0, rows * num_envs, block_size)
    sums = np.add.reduceat(model_weights.ravel().astype(np.float64), starts)
    np.testing.assert_allclose(tree.weight_sums, sums, rtol=1e-6)
    counts = np.add.reduceat(model_present.ravel().astype(int), starts)
    np.testing.assert_array_equal(tree.counts, counts)


def test_of_equal_leaves_the_largest_weight_counts():
    """Also below the old weight: the largest is among the new ones."""
    tree = make_tree(np.full((4, 2), 9.0), np.ones((4, 2)))
    leaves, weights = np.array([3, 5, 3, 3]), np.float32([0.5, 2.0, 1.5, 0.25])
    tree = set_weights(tree, leaves, weights)
    assert flat(tree, 8)[0].tolist() == [9, 9, 9, 1.5, 9, 2, 9, 9]
    assert float(tree.weight_sums.sum()) == 57.5


def test_leaves_past_the_end_are_ignored():
    weights, present = random_weights(9, rows=12, num_envs=3)
    tree = make_tree(weights, present)
    past = tree.present.size
    leaves, new_weights = np.array([past, 4, past + 1000]), np.float32([7, 8, 9])
    changed = set_weights(tree, leaves, new_weights)
    expected = set_weights(tree, leaves[1:2], new_weights[1:2])
    jax.tree.map(np.testing.assert_array_equal, changed, expected)
    assert flat(changed, 36)[0][4] == 8


@pytest.mark.parametrize(("rows", "num_envs"), [(40, 1), (23, 5), (3, 8)])
def test_rows_and_their_leaves_are_set_alike(rows, num_envs):
    random = np.random.RandomState(num_envs)
    tree = make_tree(random_weights(10, rows, num_envs)[0], np.ones((rows, num_envs)))
    chosen = np.array([rows - 1, 0, rows // 2])
    weights = random.uniform(size=(3, num_envs)).astype(np.float32)
    leaves = (chosen[:, None] * num_envs + np.arange(num_envs)).ravel()
    by_rows = set_rows(tree, chosen, num_envs, weights, np.ones((3, num_envs), bool))
    by_leaves = set_weights(tree, leaves, weights.ravel())
    jax.tree.map(np.testing.assert_array_equal, by_rows, by_leaves)


def test_blocks_have_about_the_root_of_the_number_of_leaves():
    """A million leaves in about a thousand blocks, so that a draw reads two thousand numbers."""
    for num_envs in (1, 16, 64):
        tree = jax.eval_shape(lambda n=num_envs: sum_tree.init(1_000_000 // n, n))
        blocks, block_size = tree.weights.shape
        assert blocks * block_size >= 1_000_000
        assert blocks + block_size < 2100
