"""Which leaves of a parameter tree are a layer, and of what kind."""

import functools
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core import checks, types
from plasticity import layers


def _array(*shape):
    return jnp.ones(shape)


def _rainbow(noisy_bias=True):
    """Parameters shaped like Rainbow's: convolution, norms, noisy hidden and output layers."""
    hidden = {"mu_w": _array(6, 4), "sigma_w": _array(6, 4)}
    if noisy_bias:
        hidden |= {"mu_b": _array(4), "sigma_b": _array(4)}
    norm = {"scale": _array(4), "offset": _array(4)}
    return {
        "rainbow/torso/conv_0": {"w": _array(2, 2, 1, 4)},
        "rainbow/torso/norm_0": dict(norm),
        "rainbow/value_hidden": hidden,
        "rainbow/value_norm": dict(norm),
        "rainbow/value_output": {"mu_w": _array(4, 3), "sigma_w": _array(4, 3)},
    }


# Of Rainbow's norms, those of its streams feed an output layer.
_PATTERNS = {"free_norm_pattern": "value_norm"}


def _find(params, noisy="joint", **patterns):
    declare = functools.partial(layers.by_name, **{**_PATTERNS, **patterns})
    return layers.find_layers(params, declare, noisy)


def _kinds(params, **settings):
    return {layer.name: layer.kind for layer in _find(params, **settings)}


def _leaf_names(params, **settings):
    return {layer.name: set(layer.leaves) for layer in _find(params, **settings)}


def test_rainbow_layers_have_their_kinds():
    assert _kinds(_rainbow()) == {
        "rainbow/torso/conv_0": "hidden",
        "rainbow/torso/norm_0": "norm",
        "rainbow/value_hidden": "hidden",
        "rainbow/value_norm": "free_norm",
        "rainbow/value_output": "output",
    }


def test_joint_noisy_layer_holds_means_noise_and_biases():
    names = _leaf_names(_rainbow())
    assert names["rainbow/value_hidden"] == {"mu_w", "sigma_w", "mu_b", "sigma_b"}


def test_separate_noisy_layers_are_two_layers_with_their_own_biases():
    names = _leaf_names(_rainbow(), noisy="separate")
    assert names["rainbow/value_hidden/mu"] == {"mu_w", "mu_b"}
    assert names["rainbow/value_hidden/sigma"] == {"sigma_w", "sigma_b"}
    kinds = _kinds(_rainbow(), noisy="separate")
    assert kinds["rainbow/value_hidden/mu"] == kinds["rainbow/value_hidden/sigma"] == "hidden"
    assert kinds["rainbow/value_output/sigma"] == "output"
    assert kinds["rainbow/torso/conv_0"] == "hidden"


def test_mu_only_leaves_noise_weights_apart():
    kinds = _kinds(_rainbow(noisy_bias=False), noisy="mu_only")
    assert kinds["rainbow/value_hidden/mu"] == "hidden"
    assert kinds["rainbow/value_hidden/sigma"] == "sigma"


def test_patterns_decide_what_is_output_and_which_norm_is_free():
    settings = {"output_pattern": "conv", "free_norm_pattern": "torso/norm"}
    kinds = _kinds(_rainbow(), **settings)
    assert kinds["rainbow/torso/conv_0"] == "output"
    assert kinds["rainbow/value_output"] == "hidden"
    assert kinds["rainbow/torso/norm_0"] == "free_norm"
    assert kinds["rainbow/value_norm"] == "norm"


def test_layers_are_what_they_are_declared_to_be_whatever_their_names():
    """A norm called output, weights called scale, a partner called noise; the rest is "other"."""
    params = {
        "output": {"gain": _array(4), "shift": _array(4)},
        "gate": {"scale": _array(4, 4), "noise": _array(4, 4), "w": _array(4, 4)},
        "w": {"w": _array(4, 4)},
    }
    declared = [
        types.DeclaredLayer("output", "free_norm", ("gain",), ("shift",)),
        types.DeclaredLayer("gate", "hidden", ("scale", "noise"), (), ("noise",)),
        types.DeclaredLayer("w", "output", ("w",), ()),
        types.DeclaredLayer("elsewhere", "hidden", ("w",), ()),
    ]
    found = {x.name: x for x in layers.find_layers(params, lambda _: declared, "separate")}
    kinds = {name: layer.kind for name, layer in found.items()}
    assert kinds == {
        "gate/mu": "hidden",
        "gate/sigma": "hidden",
        "gate/other": "other",
        "output": "free_norm",
        "w": "output",
    }
    assert set(found["gate/sigma"].leaves) == {"noise"}
    assert found["gate/mu"].weights == ("['gate']['scale']",)
    assert found["gate/other"].weights == ()
    assert found["output"].weights == ("['output']['gain']",)


def test_what_nobody_declared_is_other():
    found = layers.find_layers(_rainbow(), lambda _: [])
    assert {layer.kind for layer in found} == {"other"}
    assert len(found) == len(_rainbow())


def test_two_declarations_of_one_module_are_two_layers():
    """As of a module that holds weights and a norm."""
    params = {"dense": {"w": _array(2, 2), "b": _array(2), "scale": _array(2)}}
    declared = [
        types.DeclaredLayer("dense", "hidden", ("w",), ("b",)),
        types.DeclaredLayer("dense", "norm", ("scale",), ()),
    ]
    found = layers.find_layers(params, lambda _: declared)
    assert {layer.name: layer.kind for layer in found} == {
        "dense/weight": "hidden",
        "dense/norm": "norm",
    }


def test_by_name_says_which_leaves_are_weights_biases_and_noise():
    declared = {layer.module: layer for layer in layers.by_name(_rainbow())}
    hidden = declared["rainbow/value_hidden"]
    # In the order of the tree, which is that of the letters.
    assert set(hidden.weights) == {"mu_w", "sigma_w"}
    assert set(hidden.biases) == {"mu_b", "sigma_b"}
    assert set(hidden.noise) == {"sigma_w", "sigma_b"}
    norm = declared["rainbow/torso/norm_0"]
    assert norm == types.DeclaredLayer("rainbow/torso/norm_0", "norm", ("scale",), ("offset",))
    # Nothing in a name tells which norm feeds an output layer: that has to be said.
    assert declared["rainbow/value_norm"].kind == "norm"


def test_every_leaf_is_in_exactly_one_layer():
    params = _rainbow()
    params["rainbow"] = {"temperature": _array()}
    for noisy in ("joint", "separate", "mu_only"):
        found = _find(params, noisy)
        paths = [path for layer in found for path in layer.leaves.values()]
        assert sorted(paths) == sorted(layers.leaves_by_path(params))
        assert len({layer.name for layer in found}) == len(found)


def test_haiku_mlp_is_read_from_its_own_parameters():
    network = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([5, 2])(x)))
    params = network.init(jax.random.PRNGKey(0), _array(1, 3))
    found = _find(params, output_pattern="linear_1")
    assert [(layer.name, layer.kind) for layer in found] == [
        ("mlp/~/linear_0", "hidden"),
        ("mlp/~/linear_1", "output"),
    ]
    assert [set(layer.leaves) for layer in found] == [{"w", "b"}, {"w", "b"}]
    leaves = layers.leaves_by_path(params)
    assert [leaves[path].shape for layer in found for path in layer.weights] == [(3, 5), (5, 2)]


def test_bias_beside_a_scale_belongs_to_a_norm_and_beside_a_kernel_to_a_weight():
    """Flax's names: LayerNorm has scale and bias, Dense has kernel and bias."""
    params = {
        "params": {
            "Dense_0": {"kernel": _array(3, 4), "bias": _array(4)},
            "LayerNorm_0": {"scale": _array(4), "bias": _array(4)},
        }
    }
    assert _kinds(params) == {"params/Dense_0": "hidden", "params/LayerNorm_0": "norm"}


class _Pair(NamedTuple):
    first: Any
    second: Any


def test_named_tuples_and_lists_are_searched_too():
    weights = {"w": _array(2, 2), "b": _array(2)}
    params = _Pair([dict(weights), dict(weights)], {"output": dict(weights)})
    assert _kinds(params) == {
        "first/0": "hidden",
        "first/1": "hidden",
        "second/output": "output",
    }


def test_module_with_weights_and_scale_is_two_layers():
    params = {"dense": {"w": _array(2, 2), "b": _array(2), "scale": _array(2)}}
    assert _leaf_names(params) == {"dense/weight": {"w", "b"}, "dense/norm": {"scale"}}


def test_unknown_leaves_are_kept_as_other():
    params = {"embed": {"table": _array(7, 2)}, "shift": {"b": _array(2)}, "w": _array(2, 2)}
    assert _kinds(params) == {"embed": "other", "shift": "other", "root": "hidden"}


def test_modules_of_equal_path_are_refused():
    params = {"a/b": {"w": _array(2, 2)}, "a": {"b": {"w": _array(2, 2)}}}
    with pytest.raises(checks.ConfigError, match="two modules of the tree are called 'a/b'"):
        _find(params)


def test_group_norm_is_that_of_all_leaves_together():
    params = {"dense": {"w": jnp.array([[3.0, 4.0]]), "b": jnp.array([12.0, 0.0])}}
    (layer,) = _find(params)
    assert float(layers.group_norm(layers.leaves_by_path(params), layer)) == 13.0


def test_group_norm_of_half_precision_is_summed_in_float32():
    """The sum of 4096 ones in bfloat16 would stop at 256."""
    params = {"dense": {"w": jnp.ones((64, 64), jnp.bfloat16)}}
    (layer,) = _find(params)
    norm = layers.group_norm(layers.leaves_by_path(params), layer)
    assert norm.dtype == jnp.float32
    assert float(norm) == 64.0


def test_scale_leaves_touches_only_the_paths_named():
    params = {"a": {"w": _array(2)}, "b": {"w": _array(2)}}
    scaled = layers.scale_leaves(params, {"['a']['w']": jnp.float32(3)})
    np.testing.assert_array_equal(scaled["a"]["w"], [3, 3])
    np.testing.assert_array_equal(scaled["b"]["w"], [1, 1])
