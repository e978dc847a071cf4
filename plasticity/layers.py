"""The layers of a parameter tree: which leaves belong together and what part a layer plays."""

import dataclasses
import re
from collections.abc import Hashable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from core import checks

WEIGHT_NAMES = ("w", "kernel", "mu_w", "sigma_w")
BIAS_NAMES = ("b", "bias", "mu_b", "sigma_b")
NORM_NAMES = ("scale", "offset")

OUTPUT_PATTERN = r"output"
FREE_NORM_PATTERN = r"(value|advantage|action)_norm"

Kind = Literal["hidden", "output", "norm", "free_norm", "sigma", "other"]
Noisy = Literal["joint", "separate", "mu_only"]


@dataclasses.dataclass(frozen=True)
class Layer:
    """Leaves of a parameter tree that are measured, and rescaled, as one vector.

    Attributes:
      name: the module's path, keys joined by "/"; where a module holds several layers (mu and
        sigma taken apart, say) the part follows: ".../mu".
      kind: "hidden" and "output" for weights with their biases, "norm" for the scale and offset
        of a normalization, "free_norm" for one that feeds an output layer, "sigma" for noise
        weights that stay free beside their means, "other" for leaves of unknown names.
      leaves: leaf name to its path in the tree as `jax.tree_util.keystr` writes it.
    """

    name: str
    kind: Kind
    leaves: Mapping[str, str]

    @property
    def weights(self) -> tuple[str, ...]:
        """Paths of the weights among the leaves, without biases."""
        return tuple(path for name, path in self.leaves.items() if name in WEIGHT_NAMES)


def find_layers(
    params: Any,
    output_pattern: str = OUTPUT_PATTERN,
    free_norm_pattern: str = FREE_NORM_PATTERN,
    noisy: Noisy = "joint",
) -> list[Layer]:
    """Sorts every leaf of a parameter tree into layers.

    A layer is known by its leaves' names: weights (w, kernel, mu_w, sigma_w) with the biases of
    the same module (b, bias, mu_b, sigma_b), or a norm's scale and offset (or bias, beside a
    scale). The tree may be Haiku's or any nesting of dicts, NamedTuples and lists.

    Args:
      params: the parameters of one network (no seed axis), arrays or their shapes.
      output_pattern: regular expression searched in module paths: layers whose scale matters.
      free_norm_pattern: the same, for norms whose scale matters, as those before an output layer.
      noisy: whether mu and sigma of a noisy layer are one layer ("joint") or two; with "mu_only"
        sigma's is of kind "sigma".

    Returns:
      The layers in the tree's order. Names are unique.

    Raises:
      ConfigError: if two modules of the tree have the same joined path.
    """
    layers = []
    for module, leaves in _modules(params).items():
        parts = _parts(leaves, noisy)
        for part, members in parts.items():
            kind = _kind(module, part, noisy, output_pattern, free_norm_pattern)
            name = module if len(parts) == 1 else f"{module}/{part}"
            layers.append(Layer(name, kind, members))
    return layers


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


def _parts(leaves: Mapping[str, str], noisy: Noisy) -> dict[str, dict[str, str]]:
    """Splits a module's leaves into weight (or mu and sigma), norm and other."""
    parts: dict[str, dict[str, str]] = {}
    for name, path in leaves.items():
        parts.setdefault(_part(name, leaves, noisy), {})[name] = path
    return parts


def _part(name: str, siblings: Mapping[str, str], noisy: Noisy) -> str:
    has_weights = any(sibling in WEIGHT_NAMES for sibling in siblings)
    if name in WEIGHT_NAMES or (name in BIAS_NAMES and has_weights):
        part = name.partition("_")[0]
        return part if noisy != "joint" and part in ("mu", "sigma") else "weight"
    if name in NORM_NAMES or (name == "bias" and "scale" in siblings):
        return "norm"
    return "other"


def _kind(
    module: str, part: str, noisy: Noisy, output_pattern: str, free_norm_pattern: str
) -> Kind:
    if part == "norm":
        return "free_norm" if re.search(free_norm_pattern, module) else "norm"
    if part == "other":
        return "other"
    if part == "sigma" and noisy == "mu_only":
        return "sigma"
    return "output" if re.search(output_pattern, module) else "hidden"
