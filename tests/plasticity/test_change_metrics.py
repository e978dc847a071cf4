"""How far layers moved, by hand."""

import numpy as np
import pytest

from core import types
from plasticity import layers
from plasticity.metrics import change_metrics


def _params(**weights):
    biases = np.zeros(2, np.float32)
    return {name: {"w": np.float32(w), "b": biases} for name, w in weights.items()}


def _changes(before, after):
    return change_metrics.of_layers(before, after, layers.find_layers(before, layers.by_name))


def test_of_two_layers():
    before = _params(a=[[1.0, 2.0]], b=[[0.0], [0.0]])
    after = _params(a=[[4.0, 6.0]], b=[[0.0], [2.0]])
    after["a"]["b"] = np.ones(2, np.float32)  # biases don't count
    found = _changes(before, after)
    assert found["a"] == pytest.approx((5.0, 5**0.5, 2))
    assert found["b"] == (2.0, 0.0, 2)


def test_layers_whose_scale_is_free_count_and_norms_do_not():
    params = {**_params(a=[[1.0]], mixed=[[2.0]]), "norm": {"scale": np.ones(1, np.float32)}}
    kinds: dict[str, types.LayerKind] = {"a": "hidden", "mixed": "free", "norm": "norm"}
    leaves = {"a": (("w",), ("b",)), "mixed": (("w",), ("b",)), "norm": (("scale",), ())}
    declared = [types.DeclaredLayer(x, kinds[x], *leaves[x]) for x in kinds]
    found = layers.find_layers(params, lambda _: declared)
    assert [layer.kind for layer in found] == ["hidden", "free", "norm"]
    assert list(change_metrics.of_layers(params, params, found)) == ["a", "mixed"]


def test_the_mean_ratio_counts_a_layer_by_its_weights():
    """1 and 3 weights, ratios 1 and 0.2: 0.4."""
    zero = _params(a=[[0.0]], b=[[0.0, 0.0, 0.0]])
    first = _changes(zero, _params(a=[[3.0]], b=[[5.0, 0.0, 0.0]]))
    later = _changes(zero, _params(a=[[-3.0]], b=[[0.0, 1.0, 0.0]]))
    assert change_metrics.mean_ratio(later, first) == pytest.approx(0.4)
    assert change_metrics.mean_ratio(first, first) == 1


def test_layers_that_did_not_move_at_first_are_left_out():
    zero = _params(a=[[0.0]], b=[[0.0, 0.0, 0.0]])
    only_b = _changes(zero, _params(a=[[0.0]], b=[[1.0, 0.0, 0.0]]))
    both = _changes(zero, _params(a=[[9.0]], b=[[0.0, 2.0, 0.0]]))
    assert change_metrics.mean_ratio(both, only_b) == 2
    assert np.isnan(change_metrics.mean_ratio(both, _changes(zero, zero)))
