"""Per-layer quantities against values computed by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks import activations
from plasticity import layers
from plasticity.metrics import layer_metrics, rank_metrics, unit_metrics


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
    norms = layer_metrics.layer_norms(_params(), _layers())
    assert {name: float(norm) for name, norm in norms.items()} == {
        "dense": 5,
        "norm": 2,
        "output": 3,
    }
    assert float(layer_metrics.total_norm(norms)) == pytest.approx(38**0.5)


def test_norm_ratios_to_the_initial_norms():
    norms = {"a": jnp.float32(6), "b": jnp.float32(1)}
    ratios = layer_metrics.norm_ratios(norms, {"a": jnp.float32(4), "b": jnp.float32(0)})
    assert (float(ratios["a"]), float(ratios["b"])) == (1.5, 0.0)


def test_update_ratio_is_the_step_relative_to_the_weights():
    updates = jax.tree.map(lambda p: -0.1 * p, _params())
    updates["output"] = {"w": jnp.array([[0.6]])}
    ratios = layer_metrics.update_ratios(updates, _params(), _layers())
    assert float(ratios["dense"]) == pytest.approx(0.1)
    assert float(ratios["output"]) == pytest.approx(0.2)


def test_update_ratio_of_zero_weights_is_zero():
    zeros = jax.tree.map(jnp.zeros_like, _params())
    ratios = layer_metrics.update_ratios(_params(), zeros, _layers())
    assert {float(ratio) for ratio in ratios.values()} == {0.0}


def test_rotation_angle_ignores_the_scale():
    params_t = {
        "dense": {"w": jnp.array([[0.0, 6.0]]), "b": jnp.array([0.0, 8.0])},
        "norm": {"scale": 3 * jnp.ones(4), "offset": jnp.zeros(4)},
        "output": {"w": jnp.array([[0.0]])},
    }
    angles = layer_metrics.rotation_angles(_params(), params_t, _layers())
    assert float(angles["dense"]) == pytest.approx(math.acos(32 / 50), rel=1e-5)
    assert float(angles["norm"]) == 0
    assert float(angles["output"]) == 0


def test_rotation_angle_resolves_small_steps_in_float32():
    angle = 1e-5
    params = [{"a": {"w": jnp.array([[1.0, 0.0]])}}, {"a": {"w": jnp.array([[1.0, angle]])}}]
    found = layers.find_layers(params[0], layers.by_name)
    assert float(layer_metrics.rotation_angles(*params, found)["a"]) == pytest.approx(
        angle, rel=1e-3
    )


def test_effective_learning_rates_divide_by_a_power_of_the_norm():
    norms = {"a": jnp.float32(4), "zero": jnp.float32(0)}
    for power, expected in ((1, 0.5), (2, 0.125)):
        rates = layer_metrics.effective_learning_rates(2.0, norms, power)
        assert (float(rates["a"]), float(rates["zero"])) == (expected, 0.0)


# Mean |h| per unit: 2, 0, 0.04, 1.96; the layer's mean is 1.
_DENSE = jnp.array([[4.0, 0.0, 0.08, 0.96], [0.0, 0.0, 0.0, 2.96]])


def _convolution():
    """[2, 2, 2, 2]: channel 0 is active at one position of one input only, channel 1 always."""
    return jnp.zeros((2, 2, 2, 2)).at[0, 1, 0, 0].set(0.8).at[..., 1].set(1.9)


def test_dormant_fraction_compares_a_unit_with_its_layers_mean():
    activations = {"dense": _DENSE}
    for threshold, expected in ((0.0, 0.25), (0.025, 0.25), (0.1, 0.5)):
        fractions, of_all, mean = unit_metrics.dormant_fractions(activations, threshold)
        assert float(fractions["dense"]) == float(of_all) == float(mean) == expected


def test_dormant_fraction_takes_a_channel_for_a_unit():
    """Channel 0 has mean 0.1, channel 1 mean 1.9: scores 0.1 and 1.9."""
    fractions, _, _ = unit_metrics.dormant_fractions({"conv": _convolution()}, 0.11)
    assert float(fractions["conv"]) == 0.5
    fractions, _, _ = unit_metrics.dormant_fractions({"conv": _convolution()}, 0.09)
    assert float(fractions["conv"]) == 0.0


def test_totals_weight_units_or_layers():
    """2 of 4 and 0 of 2 dormant: a third of the units, a quarter as the mean over layers."""
    activations = {"dense": _DENSE, "conv": _convolution()}
    _, of_all, mean = unit_metrics.dormant_fractions(activations, 0.09)
    assert float(of_all) == pytest.approx(1 / 3)
    assert float(mean) == pytest.approx(1 / 4)


def test_units_of_a_layer_without_activity_are_all_dormant():
    fractions, of_all, _ = unit_metrics.dormant_fractions({"dense": jnp.zeros((3, 4))}, 0.0)
    assert float(fractions["dense"]) == float(of_all) == 1.0


def test_dead_units_are_zero_for_every_input_and_position():
    fractions = unit_metrics.dead_fractions({"dense": _DENSE, "conv": _convolution()})
    assert (float(fractions["dense"]), float(fractions["conv"])) == (0.25, 0.0)


_RELU = unit_metrics.Slope(activations.Settings("relu").derivative, is_piecewise=True)


def test_linearised_relus_are_positive_for_every_input_and_position():
    pre = _DENSE - jnp.array([[1.0, 1.0, 0.01, 0.0]])
    assert float(unit_metrics.linearised_fraction(pre, _RELU)) == 0.25
    assert float(unit_metrics.linearised_fraction(_convolution(), _RELU)) == 0.5
    # One that is never on has one slope as well, but is dead.
    assert float(unit_metrics.linearised_fraction(-jnp.ones((3, 2)), _RELU)) == 0.0


def test_linearised_smooth_units_have_almost_the_same_slope_everywhere():
    gelu = unit_metrics.Slope(activations.Settings("gelu").derivative, is_piecewise=False)
    normal = np.random.RandomState(0).normal(size=500).astype(np.float32)
    pre = jnp.stack([jnp.full(500, 8.0), normal], axis=-1)
    assert float(unit_metrics.linearised_fraction(pre, gelu)) == 0.5
    # One that is off for all inputs has nearly one slope as well, 0.
    assert float(unit_metrics.linearised_fraction(-pre[:, :1], gelu)) == 0.0


def test_a_leaky_unit_acts_linearly_on_either_side():
    chosen = activations.Settings("leaky_relu")
    leaky = unit_metrics.Slope(chosen.derivative, is_piecewise=True)
    pre = jnp.array([[1.0, -1.0, 1.0], [2.0, -2.0, -1.0]])
    assert float(unit_metrics.linearised_fraction(pre, leaky)) == pytest.approx(2 / 3)


def test_a_crelu_acts_linearly_where_one_of_its_features_is_always_on():
    crelu = unit_metrics.Slope(activations.Settings("crelu").derivative, is_piecewise=True)
    pre = jnp.array([[1.0, -1.0, 1.0], [2.0, -2.0, -1.0]])
    assert float(unit_metrics.linearised_fraction(pre, crelu)) == pytest.approx(2 / 3)


def test_dormant_scores_by_hand():
    """Means of 0, 1 and 3: scores of 0, 0.75 and 2.25."""
    h = jnp.array([[0.0, 1.0, 3.0]])
    for threshold, expected in ((0.0, 1 / 3), (0.1, 1 / 3), (0.75, 2 / 3)):
        fractions, _, _ = unit_metrics.dormant_fractions({"a": h}, threshold)
        assert float(fractions["a"]) == pytest.approx(expected)


def test_active_fraction_and_feature_norm_by_hand():
    fractions = unit_metrics.active_fractions({"a": jnp.array([[0.0, 2.0], [0.0, 3.0]])})
    assert float(fractions["a"]) == 0.5
    saturated = {"a": jnp.array([[-0.999, 0.2], [0.0, 1.0]])}
    assert float(unit_metrics.active_fractions(saturated, saturates=True)["a"]) == 0.5
    assert float(unit_metrics.feature_norm(jnp.array([[3.0, 4.0], [0.0, 0.0]]))) == 2.5


def test_all_quantities_of_units():
    """Pre-activations of two units with means 0 and 2, variances 1 and 4."""
    pre = jnp.array([[-1.0, 0.0], [1.0, 4.0]])
    found = unit_metrics.measure({"a": activations.Units(pre, jax.nn.relu(pre))}, _RELU)
    expected = {
        **{f"dormant_{tau}": 0.0 for tau in ("0", "0.025", "0.1")},
        "dead": 0.0,
        "linearised": 0.0,
        "active": 0.5,
        "feature_norm": 17**0.5 / 2,
        "pre_mean": 1.0,
        "pre_variance": 2.5,
    }
    assert {name: float(x["a"]) for name, x in found.items()} == pytest.approx(expected)


def _features(*singular_values):
    """A matrix [20, len(singular_values)] with these singular values."""
    size = len(singular_values)
    random = np.random.RandomState(0)
    left = np.linalg.qr(random.normal(size=(20, size)))[0]
    right = np.linalg.qr(random.normal(size=(size, size)))[0]
    return jnp.asarray(left * singular_values @ right, jnp.float32)


def _values(*singular_values):
    return rank_metrics.singular_values(_features(*singular_values))


def test_singular_values_come_in_order():
    np.testing.assert_allclose(_values(1, 3, 2), [3, 2, 1], rtol=1e-5)


def test_effective_rank_is_the_exponential_of_the_entropy():
    assert float(rank_metrics.effective_rank(_values(2, 2, 2, 2))) == pytest.approx(4, rel=1e-5)
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert expected == pytest.approx(1.754765, rel=1e-6)
    assert float(rank_metrics.effective_rank(_values(3, 1))) == pytest.approx(expected, rel=1e-5)
    one_direction = rank_metrics.singular_values(jnp.outer(jnp.arange(6.0), jnp.ones(3)))
    assert float(rank_metrics.effective_rank(one_direction)) == pytest.approx(1, rel=1e-3)


def test_srank_counts_the_values_that_make_up_the_sum():
    values = jnp.array([97.0, 2.0, 1.0])
    assert int(rank_metrics.srank(values, delta=0.011)) == 2
    assert int(rank_metrics.srank(values, delta=0.05)) == 1
    assert int(rank_metrics.srank(_values(1, 1, 1, 1))) == 4


def test_stable_rank_and_rank_by_hand():
    assert float(rank_metrics.stable_rank(_values(3, 1))) == pytest.approx(10 / 9, rel=1e-5)
    constant = rank_metrics.singular_values(jnp.full((8, 4), 5.0))
    assert int(rank_metrics.rank(constant, 8)) == 1


def test_ranks_of_a_zero_matrix_are_zero():
    values = rank_metrics.singular_values(jnp.zeros((5, 3)))
    assert float(rank_metrics.effective_rank(values)) == 0
    assert int(rank_metrics.srank(values)) == 0
    assert float(rank_metrics.stable_rank(values)) == 0
    assert int(rank_metrics.rank(values, 5)) == 0


def test_ranks_of_weights_and_features():
    """A kernel [1, 1, 2, 2] counts as the matrix [2, 2] in it."""
    found = rank_metrics.of_weights({"conv": jnp.diag(jnp.array([3.0, 1.0]))[None, None]})
    assert float(found["weight_stable_rank"]["conv"]) == pytest.approx(10 / 9, rel=1e-5)
    found = rank_metrics.of_features({"a": _features(3, 1)})
    assert float(found["feature_largest_share"]["a"]) == pytest.approx(0.75, rel=1e-5)
    assert int(found["feature_rank"]["a"]) == 2


def test_metrics_are_vmapped_over_seeds():
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), _params())
    norms = jax.jit(jax.vmap(lambda p: layer_metrics.layer_norms(p, _layers())))(stacked)
    np.testing.assert_allclose(norms["dense"], [5, 10])
    features = jnp.stack([_features(1, 1), _features(3, 1)])
    found = jax.vmap(lambda h: rank_metrics.of_features({"a": h}))(features)
    np.testing.assert_allclose(found["feature_effective_rank"]["a"], [2, 1.754765], rtol=1e-5)
