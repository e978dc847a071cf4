"""Jacobians, kernels, sharpness and churn against values computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plasticity.metrics import churn_metrics, curvature_metrics

_RNG = jax.random.key(0)


def _linear(params, x):
    return x @ params["w"]


def test_gram_is_of_the_gradients_of_the_outputs():
    """Of x_i . w the gradients are the x_i."""
    x = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    found = curvature_metrics.gram(lambda row: jax.grad(_linear)({"w": jnp.ones(2)}, row), x)
    np.testing.assert_allclose(found, x @ x.T)


def test_gram_equals_explicit_jacobians_of_a_network():
    """Of more examples than are held at once."""
    rng = np.random.RandomState(0)
    params = {"a": jnp.asarray(rng.normal(size=(3, 4))), "b": jnp.asarray(rng.normal(size=4))}
    x = jnp.asarray(rng.normal(size=(12, 3)))
    function = lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"]  # noqa: E731
    jacobian = jax.tree.leaves(jax.jacrev(function)(params, x))
    rows = np.concatenate([np.asarray(leaf).reshape(12, -1) for leaf in jacobian], axis=1)
    found = curvature_metrics.gram(lambda row: jax.grad(function)(params, row), x)
    np.testing.assert_allclose(found, rows @ rows.T, rtol=1e-4, atol=1e-5)


def test_cosines_of_orthogonal_and_of_equal_gradients():
    orthogonal = curvature_metrics.cosines(jnp.diag(jnp.array([1.0, 4.0, 9.0])))
    assert (float(orthogonal.mean), float(orthogonal.negative_share)) == (0, 0)
    assert float(orthogonal.effective_rank) == pytest.approx(3, rel=1e-5)
    equal = curvature_metrics.cosines(jnp.full((3, 3), 2.0))
    assert float(equal.mean) == pytest.approx(1)
    assert float(equal.effective_rank) == pytest.approx(1, rel=1e-3)
    opposite = curvature_metrics.cosines(jnp.array([[1.0, -1.0], [-1.0, 1.0]]))
    assert (float(opposite.mean), float(opposite.negative_share)) == (-1, 1)


def test_an_example_without_gradient_has_cosines_of_zero():
    found = curvature_metrics.cosines(jnp.array([[1.0, 0.0], [0.0, 0.0]]))
    assert float(found.mean) == 0


def test_kernel_by_hand():
    """[[2, 1], [1, 2]] has the eigenvalues 3 and 1."""
    found = curvature_metrics.kernel(jnp.array([[2.0, 1.0], [1.0, 2.0]]))
    assert float(found.effective_rank) == pytest.approx(1.754765, rel=1e-5)
    assert float(found.largest_share) == pytest.approx(0.75)
    assert int(found.rank_99) == 2
    assert float(found.off_diagonal_ratio) == pytest.approx(0.5)


def test_jacobian_norms_of_a_linear_map():
    """Of W x: ||x|| sqrt(outputs) by the weights, ||W||_F by x; beyond 8 outputs an estimate."""
    x = jnp.tile(jnp.array([[1.0, 2.0, 2.0]]), (4_000, 1))
    for outputs, tolerance in ((9, 0.03), (4, 1e-6)):
        w = jnp.asarray(np.random.RandomState(0).normal(size=(3, outputs)), jnp.float32)
        by_weights = curvature_metrics.parameter_jacobian_norm(_linear, {"w": w}, x, _RNG)
        assert float(by_weights) == pytest.approx(3 * outputs**0.5, rel=tolerance)
    by_input = curvature_metrics.input_jacobian_norm(lambda x: x @ w, x[:7])
    assert float(by_input) == pytest.approx(float(jnp.linalg.norm(w)), rel=1e-5)


@pytest.mark.parametrize(("eigenvalues", "expected"), [((4.0, 1.0), 4), ((-5.0, 1.0), -5)])
def test_sharpness_is_the_hessians_largest_eigenvalue(eigenvalues, expected):
    loss = lambda p: 0.5 * jnp.sum(jnp.array(eigenvalues) * jnp.square(p["a"]))  # noqa: E731
    found = curvature_metrics.sharpness(loss, {"a": jnp.array([1.0, 2.0])}, _RNG)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_sharpness_of_a_plane_is_zero():
    assert float(curvature_metrics.sharpness(lambda p: jnp.sum(p), jnp.ones(3), _RNG)) == 0


def test_churn_by_hand():
    before = jnp.array([[1.0, 0.0], [2.0, 1.0]])
    after = jnp.array([[0.0, 1.0], [2.0, 1.0]])
    found = churn_metrics.churn(before, after)
    assert {name: float(x) for name, x in found.items()} == {
        "value_churn": 0.5,
        "action_churn": 0.5,
    }
