"""The moments in an optax state: how they change when the parameters are rescaled."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from plasticity import layers
from plasticity.adam_ages import AdamAgesState

# The fields that hold moments, with the power of the gradient that they average.
_MOMENTS: Mapping[type, Mapping[str, int]] = {
    AdamAgesState: {"mu": 1, "nu": 2},
    optax.ScaleByAdamState: {"mu": 1, "nu": 2},
    optax.ScaleByBeliefState: {"mu": 1, "nu": 2},
    optax.ScaleByAmsgradState: {"mu": 1, "nu": 2, "nu_max": 2},
    optax.ScaleByLionState: {"mu": 1},
    optax.ScaleByRmsState: {"nu": 2},
    optax.ScaleByRStdDevState: {"mu": 1, "nu": 2},
    optax.TraceState: {"trace": 1},
}


def paths(state: Any) -> set[str]:
    """Paths of all moments anywhere in an optax state, each within its own moment's tree."""
    nodes = filter(_has_moments, jax.tree_util.tree_leaves(state, is_leaf=_has_moments))
    trees = [getattr(node, field) for node in nodes for field in _MOMENTS[type(node)]]
    return {path for tree in trees for path in layers.leaves_by_path(tree)}


def has_others(state: Any) -> bool:
    """Whether an optax state has arrays for parameters that are no moments known here."""
    nodes = jax.tree_util.tree_leaves(state, is_leaf=_has_moments)
    return any(node.ndim > 0 for node in nodes if not _has_moments(node))


def rescale(state: Any, factors: Mapping[str, jax.Array]) -> Any:
    """Carries the moments over to rescaled parameters.

    A loss that does not depend on the scale of w has grad f(cw) = grad f(w) / c (van Laarhoven
    2017, arXiv 1706.05350), so first moments are divided by c and second ones by c^2.

    Args:
      state: an optax state with moments of Adam, AdaBelief, AMSGrad, Lion, RMSProp or momentum.
      factors: the scalar c by which each leaf was multiplied, by path; 1 for leaves left out.
    """

    def rescale_node(node):
        if not _has_moments(node):
            return node
        moved = {}
        for field, power in _MOMENTS[type(node)].items():
            growth = {path: factor**-power for path, factor in factors.items()}
            moved[field] = layers.scale_leaves(getattr(node, field), growth)
        return node._replace(**moved)

    return jax.tree.map(rescale_node, state, is_leaf=_has_moments)


def reset(state: Any, masks: Mapping[str, Any]) -> Any:
    """Sets moments, and the ages of Adam with ages, to 0.

    Args:
      state: an optax state.
      masks: by path, which elements: booleans that broadcast to the leaf.
    """

    def reset_node(node):
        if not _has_moments(node):
            return node
        fields = [*_MOMENTS[type(node)], *(("ages",) if hasattr(node, "ages") else ())]
        clear = lambda path, x: jnp.where(masks[path], jnp.zeros_like(x), x)  # noqa: E731
        cleared = {name: layers.map_leaves(clear, getattr(node, name), masks) for name in fields}
        return node._replace(**cleared)

    return jax.tree.map(reset_node, state, is_leaf=_has_moments)


def _has_moments(node: Any) -> bool:
    return type(node) in _MOMENTS
