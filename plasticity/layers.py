"""The layers of a parameter tree: which leaves belong together and what part a layer plays."""

import dataclasses
import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from core import checks, types

Kind = Literal["hidden", "free", "output", "norm", "free_norm", "sigma", "other"]
WEIGHTED: tuple[Kind, ...] = ("hidden", "free", "output")
"""Kinds of layers with matrices or kernels."""

Noisy = Literal["joint", "separate", "mu_only"]

Declare = Callable[[Any], Sequence[types.DeclaredLayer]]
"""From parameters, arrays or shapes, to their layers, as `by_name`."""

_WEIGHTS = ("w", "kernel", "mu_w", "sigma_w")
_BIASES = ("b", "bias", "mu_b", "sigma_b")


@dataclasses.dataclass(frozen=True)
class Layer:
    """Leaves of a parameter tree that are measured, and rescaled, as one vector.

    Attributes:
      name: the module's path, keys joined by "/"; where a module holds several layers (mu and
        sigma taken apart, say) the part follows: ".../mu".
      kind: "hidden", "free" and "output" for weights with their biases, "norm" for the scale and
        offset of a normalization, "free_norm" for one that feeds an output layer, "sigma" for noise
        weights that stay free beside their means, "other" for undeclared leaves.
      leaves: leaf name to its path in the tree as `jax.tree_util.keystr` writes it.
      weights: the paths of matrices and kernels, or of a norm's scales, among them.
    """

    name: str
    kind: Kind
    leaves: Mapping[str, str]
    weights: tuple[str, ...]


def find_layers(params: Any, declare: Declare, noisy: Noisy = "joint") -> list[Layer]:
    """Sorts every leaf of a parameter tree into layers.

    Args:
      params: the parameters of one network (no seed axis), arrays or their shapes: Haiku's, or any
        nesting of dicts, NamedTuples and lists.
      declare: says what the layers are; leaves of modules that it does not name are "other".
      noisy: whether mu and sigma of a noisy layer are one layer ("joint") or two; with "mu_only"
        sigma's is of kind "sigma".

    Returns:
      The layers in the tree's order. Names are unique.

    Raises:
      ConfigError: if two modules of the tree have the same joined path.
    """
    declared: dict[str, list[types.DeclaredLayer]] = {}
    for layer in declare(params):
        declared.setdefault(layer.module, []).append(layer)
    layers = []
    for module, leaves in _modules(params).items():
        layers += _layers_of(module, leaves, declared.get(module, []), noisy)
    return layers


def by_name(
    params: Any, output_pattern: str = "output", free_norm_pattern: str = "$^"
) -> list[types.DeclaredLayer]:
    """Declares layers by the usual names of leaves, for networks that do not declare theirs.

    Weights are called w, kernel, mu_w or sigma_w, biases b, bias, mu_b or sigma_b; a norm has a
    scale, and an offset or bias beside it.

    Args:
      params: the parameters, arrays or shapes.
      output_pattern: regular expression searched in module paths: layers whose scale matters.
      free_norm_pattern: the same, for norms whose scale matters: those before an output layer.
    """
    declared = []
    for module, leaves in _modules(params).items():
        weights = tuple(name for name in leaves if name in _WEIGHTS)
        if weights:
            biases = tuple(name for name in leaves if name in _BIASES)
            noise = tuple(name for name in (*weights, *biases) if name.startswith("sigma"))
            kind = "output" if re.search(output_pattern, module) else "hidden"
            declared.append(types.DeclaredLayer(module, kind, weights, biases, noise))
        scales = tuple(name for name in leaves if name == "scale")
        names = ("offset",) if weights else ("offset", "bias")
        offsets = tuple(name for name in leaves if name in names and (scales or name == "offset"))
        if scales or offsets:
            kind = "free_norm" if re.search(free_norm_pattern, module) else "norm"
            declared.append(types.DeclaredLayer(module, kind, scales, offsets))
    return declared


def leaves_by_path(tree: Any) -> dict[str, jax.Array]:
    """The leaves of a tree by their paths, as `Layer.leaves` names them."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def group_norm(leaves: Mapping[str, jax.Array], layer: Layer) -> jax.Array:
    """Frobenius norm, a scalar, of a layer's leaves taken as one vector, in float32 or wider."""
    return jnp.sqrt(sum((_sum_of_squares(leaves[p]) for p in layer.leaves.values()), start=0.0))


def scale_leaves(tree: Any, factors: Mapping[str, jax.Array]) -> Any:
    """Multiplies leaves by the factors of their paths; leaves without one stay as they are."""

    def scale(path, leaf):
        factor = factors.get(jax.tree_util.keystr(path))
        return leaf if factor is None else leaf * factor.astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(scale, tree)


def map_leaves(function: Callable[[str, Any], Any], tree: Any, paths: Collection[str]) -> Any:
    """The tree with function(path, leaf) in place of the leaves at some paths."""

    def replace(path, leaf):
        name = jax.tree_util.keystr(path)
        return function(name, leaf) if name in paths else leaf

    return jax.tree_util.tree_map_with_path(replace, tree)


def _sum_of_squares(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32))))


def _modules(params: Any) -> dict[str, dict[str, str]]:
    """Leaf names and paths by module path."""
    modules: dict[str, dict[str, str]] = {}
    owners: dict[str, Hashable] = {}
    for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]:
        names = [_key_name(key) for key in path]
        module = "/".join(names[:-1]) or "root"
        if owners.setdefault(module, path[:-1]) != path[:-1]:
            raise checks.ConfigError(f"parameters: two modules of the tree are called {module!r}")
        modules.setdefault(module, {})[names[-1] if names else ""] = jax.tree_util.keystr(path)
    return modules


def _key_name(key: Any) -> str:
    """The text of a dict key, a field's name or a list index in a tree path."""
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _layers_of(
    module: str,
    leaves: Mapping[str, str],
    declared: Sequence[types.DeclaredLayer],
    noisy: Noisy,
) -> list[Layer]:
    """The layers of one module: mu, sigma and undeclared leaves may be separate."""
    parts: dict[str, dict[str, str]] = {}
    owners: dict[str, types.DeclaredLayer | None] = {}
    for name, path in leaves.items():
        owner = next((x for x in declared if name in (*x.weights, *x.biases)), None)
        part = _part(name, owner, noisy)
        parts.setdefault(part, {})[name] = path
        owners[part] = owner
    return [
        Layer(
            name=module if len(parts) == 1 else f"{module}/{part}",
            kind=_kind(part, owner, noisy),
            leaves=parts[part],
            weights=tuple(p for name, p in parts[part].items() if owner and name in owner.weights),
        )
        for part, owner in owners.items()
    ]


def _part(name: str, owner: types.DeclaredLayer | None, noisy: Noisy) -> str:
    if owner is None:
        return "other"
    if owner.kind in ("norm", "free_norm"):
        return "norm"
    if not owner.noise or noisy == "joint":
        return "weight"
    return "sigma" if name in owner.noise else "mu"


def _kind(part: str, owner: types.DeclaredLayer | None, noisy: Noisy) -> Kind:
    if owner is None:
        return "other"
    return "sigma" if part == "sigma" and noisy == "mu_only" else owner.kind
