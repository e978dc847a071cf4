"""Per-layer quantities against values computed by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plasticity import layers, metrics


def _params():
    """Norms 5 (weights and bias), 2 and 3."""
    return {
        "dense": {"w": jnp.array([[3.0, 0.0]]), "b": jnp.array([0.0, 4.0])},
        "norm": {"scale": jnp.ones(4), "offset": jnp.zeros(4)},
        "output": {"w": jnp.array([[3.0]])},
    }


def _layers():
    return layers.find_layers(_params(), layers.by_name)


def test_layer_norms_and_their_total():
    norms = metrics.layer_norms(_params(), _layers())
    assert {name: float(norm) for name, norm in norms.items()} == {
        "dense": 5,
        "norm": 2,
        "output": 3,
    }
    assert float(metrics.total_norm(norms)) == pytest.approx(38**0.5)


def test_norm_ratios_to_the_initial_norms():
    norms = {"a": jnp.float32(6), "b": jnp.float32(1)}
    ratios = metrics.norm_ratios(norms, {"a": jnp.float32(4), "b": jnp.float32(0)})
    assert (float(ratios["a"]), float(ratios["b"])) == (1.5, 0.0)


def test_update_ratio_is_the_step_relative_to_the_weights():
    updates = jax.tree.map(lambda p: -0.1 * p, _params())
    updates["output"] = {"w": jnp.array([[0.6]])}
    ratios = metrics.update_ratios(updates, _params(), _layers())
    assert float(ratios["dense"]) == pytest.approx(0.1)
    assert float(ratios["output"]) == pytest.approx(0.2)


def test_update_ratio_of_zero_weights_is_zero():
    zeros = jax.tree.map(jnp.zeros_like, _params())
    ratios = metrics.update_ratios(_params(), zeros, _layers())
    assert {float(ratio) for ratio in ratios.values()} == {0.0}


def test_rotation_angle_ignores_the_scale():
    params_t = {
        "dense": {"w": jnp.array([[0.0, 6.0]]), "b": jnp.array([0.0, 8.0])},
        "norm": {"scale": 3 * jnp.ones(4), "offset": jnp.zeros(4)},
        "output": {"w": jnp.array([[0.0]])},
    }
    angles = metrics.rotation_angles(_params(), params_t, _layers())
    assert float(angles["dense"]) == pytest.approx(math.acos(32 / 50), rel=1e-5)
    assert float(angles["norm"]) == 0
    assert float(angles["output"]) == 0


def test_rotation_angle_resolves_small_steps_in_float32():
    angle = 1e-5
    params = [{"a": {"w": jnp.array([[1.0, 0.0]])}}, {"a": {"w": jnp.array([[1.0, angle]])}}]
    found = layers.find_layers(params[0], layers.by_name)
    assert float(metrics.rotation_angles(*params, found)["a"]) == pytest.approx(angle, rel=1e-3)


def test_effective_learning_rates_divide_by_a_power_of_the_norm():
    norms = {"a": jnp.float32(4), "zero": jnp.float32(0)}
    for power, expected in ((1, 0.5), (2, 0.125)):
        rates = metrics.effective_learning_rates(2.0, norms, power)
        assert (float(rates["a"]), float(rates["zero"])) == (expected, 0.0)


# Mean |h| per unit: 2, 0, 0.04, 1.96; the layer's mean is 1.
_DENSE = jnp.array([[4.0, 0.0, 0.08, 0.96], [0.0, 0.0, 0.0, 2.96]])


def _convolution():
    """[2, 2, 2, 2]: channel 0 is active at one position of one input only, channel 1 always."""
    return jnp.zeros((2, 2, 2, 2)).at[0, 1, 0, 0].set(0.8).at[..., 1].set(1.9)


def test_dormant_fraction_compares_a_unit_with_its_layers_mean():
    activations = {"dense": _DENSE}
    for threshold, expected in ((0.0, 0.25), (0.025, 0.25), (0.1, 0.5)):
        fractions, of_all, mean = metrics.dormant_fractions(activations, threshold)
        assert float(fractions["dense"]) == float(of_all) == float(mean) == expected


def test_dormant_fraction_takes_a_channel_for_a_unit():
    """Channel 0 has mean 0.1, channel 1 mean 1.9: scores 0.1 and 1.9."""
    fractions, _, _ = metrics.dormant_fractions({"conv": _convolution()}, 0.11)
    assert float(fractions["conv"]) == 0.5
    fractions, _, _ = metrics.dormant_fractions({"conv": _convolution()}, 0.09)
    assert float(fractions["conv"]) == 0.0


def test_totals_weight_units_or_layers():
    """2 of 4 and 0 of 2 dormant: a third of the units, a quarter as the mean over layers."""
    activations = {"dense": _DENSE, "conv": _convolution()}
    _, of_all, mean = metrics.dormant_fractions(activations, 0.09)
    assert float(of_all) == pytest.approx(1 / 3)
    assert float(mean) == pytest.approx(1 / 4)


def test_units_of_a_layer_without_activity_are_all_dormant():
    fractions, of_all, _ = metrics.dormant_fractions({"dense": jnp.zeros((3, 4))}, 0.0)
    assert float(fractions["dense"]) == float(of_all) == 1.0


def test_dead_units_are_zero_for_every_input_and_position():
    fractions = metrics.dead_fractions({"dense": _DENSE, "conv": _convolution()})
    assert (float(fractions["dense"]), float(fractions["conv"])) == (0.25, 0.0)


def test_linearised_units_are_positive_for_every_input_and_position():
    """Before and after the ReLU alike."""
    pre_activations = _DENSE - jnp.array([[1.0, 1.0, 0.01, 0.0]])
    for h in (pre_activations, jax.nn.relu(pre_activations)):
        fractions = metrics.linearised_fractions({"dense": h, "conv": _convolution()})
        assert (float(fractions["dense"]), float(fractions["conv"])) == (0.25, 0.5)


def _features(*singular_values):
    """A matrix [20, len(singular_values)] with these singular values."""
    size = len(singular_values)
    random = np.random.RandomState(0)
    left = np.linalg.qr(random.normal(size=(20, size)))[0]
    right = np.linalg.qr(random.normal(size=(size, size)))[0]
    return jnp.asarray(left * singular_values @ right, jnp.float32)


def test_effective_rank_is_the_exponential_of_the_entropy():
    assert float(metrics.effective_rank(_features(2, 2, 2, 2))) == pytest.approx(4, rel=1e-5)
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert float(metrics.effective_rank(_features(3, 1))) == pytest.approx(expected, rel=1e-5)
    one_direction = jnp.outer(jnp.arange(6.0), jnp.ones(3))
    assert float(metrics.effective_rank(one_direction)) == pytest.approx(1, rel=1e-3)


def test_srank_counts_the_values_that_make_up_the_sum():
    """Of 90, 9.5, 0.4, 0.1 the first has 90 %, two have 99.5 %, three 99.9 %."""
    features = _features(90, 9.5, 0.4, 0.1)
    assert int(metrics.srank(features)) == 2
    assert int(metrics.srank(features, delta=0.003)) == 3
    assert int(metrics.srank(features, delta=0.2)) == 1
    assert int(metrics.srank(_features(1, 1, 1, 1))) == 4


def test_ranks_of_a_zero_matrix_are_zero():
    assert float(metrics.effective_rank(jnp.zeros((5, 3)))) == 0
    assert int(metrics.srank(jnp.zeros((5, 3)))) == 0


def test_metrics_are_vmapped_over_seeds():
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), _params())
    norms = jax.jit(jax.vmap(lambda p: metrics.layer_norms(p, _layers())))(stacked)
    np.testing.assert_allclose(norms["dense"], [5, 10])
    features = jnp.stack([_features(1, 1), _features(3, 1)])
    ranks = jax.vmap(metrics.effective_rank)(features)
    np.testing.assert_allclose(ranks, [metrics.effective_rank(f) for f in features], rtol=1e-5)
