"""Normalize-and-Project: keeps each hidden layer's parameters on a sphere, so that the effective
learning rate is the scheduled one (Lyle et al. 2024, arXiv 2407.01800).
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import ml_collections
import optax

from core import checks
from plasticity import layers, moments

SECTION = "optimizer.projection"


def _is_radius(value: Any) -> bool:
    if value in ("init", "sqrt_fan_out"):
        return True
    try:
        return not isinstance(value, bool) and 0 < float(value) < float("inf")
    except (TypeError, ValueError):
        return False


def _is_pattern(value: Any) -> bool:
    try:
        return bool(value) and re.compile(value) is not None
    except (TypeError, re.error):
        return False


CHECKS: Mapping[str, checks.Check] = {
    "enabled": checks.boolean(),
    "radius": checks.Check("'init', 'sqrt_fan_out' or a number > 0", _is_radius),
    "period_updates": checks.integer(1),
    "moments": checks.one_of("keep", "rescale"),
    "noisy": checks.one_of("joint", "separate", "mu_only"),
    "scale_offset": checks.one_of("free", "joint_sqrt_d", "decay_to_init"),
    "decay_rate": checks.number(0, 1),
    "project_output": checks.boolean(),
    "output_pattern": checks.Check("a regular expression", _is_pattern),
    "free_norm_pattern": checks.Check("a regular expression", _is_pattern),
}


@dataclasses.dataclass(frozen=True)
class ProjectionSettings:
    """What is projected, where to, and when.

    The norm is that of a whole layer: its weights, with its biases where it has any, as one
    vector; they are all multiplied by the same factor.

    Attributes:
      enabled: False leaves the optimizer as it is.
      radius: of a layer's sphere: "init", its norm when the optimizer was initialized (the
        paper's); "sqrt_fan_out", the root of the length of the weights' last axis; or a number,
        also as text, for a config's key keeps its type.
      period_updates: projects once in so many updates; the paper found 1 and 1000 nearly alike.
      moments: what happens to the inner optimizer's moments when a layer's norm falls by the
        factor k: "keep" (as the paper), or "rescale" the first by k and the second by k^2, as
        the gradients grow, which alone makes a projected run equal to a free one.
      noisy: noisy linear layers: mu and sigma on one sphere ("joint": the only factor a norm
        cancels), each on its own ("separate": fixes their ratio as well) or sigma free
        ("mu_only"). With "separate" and a radius other than "init", mu gets the radius and
        sigma keeps its initial ratio to mu.
      scale_offset: the norms' scales and offsets: "free"; "joint_sqrt_d", both as one vector on
        a sphere of radius sqrt(number of scales), an invariance where a layer without bias and
        a norm follow (positively homogeneous nonlinearity), so not in `free_norm_pattern`; or
        "decay_to_init", all of them drawn to their initial values.
      decay_rate: by which share of the distance "decay_to_init" draws, per update.
      project_output: whether output layers are projected too; their scale matters.
      output_pattern: regular expression found in the module paths of output layers.
      free_norm_pattern: the same for norms that feed an output layer.
    """

    enabled: bool = True
    radius: str | float = "init"
    period_updates: int = 1
    moments: Literal["keep", "rescale"] = "keep"
    noisy: layers.Noisy = "joint"
    scale_offset: Literal["free", "joint_sqrt_d", "decay_to_init"] = "joint_sqrt_d"
    decay_rate: float = 1e-5
    project_output: bool = False
    output_pattern: str = layers.OUTPUT_PATTERN
    free_norm_pattern: str = layers.FREE_NORM_PATTERN

    def __post_init__(self):
        """Raises ConfigError for a value out of range."""
        checks.verify(SECTION, dataclasses.asdict(self), CHECKS)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ProjectionSettings":
        """Builds it from the section `optimizer.projection`; raises ConfigError."""
        checks.verify(SECTION, config, CHECKS)
        return cls(**config)


def default_config() -> ml_collections.ConfigDict:
    """The section `optimizer.projection`, off; its keys are `ProjectionSettings`'s."""
    return ml_collections.ConfigDict(dataclasses.asdict(ProjectionSettings(enabled=False)))


class ProjectionState(NamedTuple):
    """What a projection keeps between updates.

    Attributes:
      count: int32 scalar, updates done.
      radii: each projected layer's radius, a scalar by the layer's name.
      initial: with "decay_to_init" the norms' initial scales and offsets by path, else empty.
    """

    count: jax.Array
    radii: dict[str, jax.Array]
    initial: dict[str, jax.Array]


class ProjectedState(NamedTuple):
    """State of `project`: the wrapped optimizer's and the projection's."""

    inner: Any
    projection: ProjectionState


def projected_layers(params: Any, settings: ProjectionSettings) -> list[layers.Layer]:
    """The layers that are put on spheres, after checking that the settings fit the network.

    Args:
      params: the parameters of one network, arrays or shapes.
      settings: which layers to take.

    Raises:
      ConfigError: if nothing would be projected, a pattern that is needed matches nothing, or a
        matrix has a name that is not known, so that it would stay free unnoticed.
    """
    found = _find_layers(params, settings)
    _check_matches(found, settings)
    _check_matrices(found, params, settings)
    return selected_layers(params, settings)


def selected_layers(params: Any, settings: ProjectionSettings) -> list[layers.Layer]:
    """As `projected_layers` without the checks: whose norms to record in a free run.

    The network of such a run need not fit the settings: it may have no norms, for example.
    """
    kinds = {"hidden"}
    kinds |= {"output"} if settings.project_output else set()
    kinds |= {"norm"} if settings.scale_offset == "joint_sqrt_d" else set()
    return [layer for layer in _find_layers(params, settings) if layer.kind in kinds]


def _find_layers(params: Any, settings: ProjectionSettings) -> list[layers.Layer]:
    return layers.find_layers(
        params, settings.output_pattern, settings.free_norm_pattern, settings.noisy
    )


def _check_matches(found: list[layers.Layer], settings: ProjectionSettings) -> None:
    """Raises ConfigError where a kind of layer that the settings speak of does not occur."""
    kinds = {layer.kind for layer in found}
    weighted = [layer.name for layer in found if layer.kind in ("hidden", "output")]
    norms = [layer.name for layer in found if layer.kind in ("norm", "free_norm")]
    treatment = settings.scale_offset
    if "output" not in kinds and not settings.project_output:
        _raise("output_pattern", settings.output_pattern, "a match among the layers", weighted)
    if "hidden" not in kinds and not ("output" in kinds and settings.project_output):
        _raise("output_pattern", settings.output_pattern, "a layer left to project", weighted)
    if treatment != "free" and not norms:
        _raise("scale_offset", treatment, "'free' for a network without scales and offsets", [])
    if treatment == "joint_sqrt_d" and "free_norm" not in kinds:
        _raise("free_norm_pattern", settings.free_norm_pattern, "a match among the norms", norms)


def _check_matrices(found: list[layers.Layer], params: Any, settings: ProjectionSettings) -> None:
    """Raises ConfigError for a matrix that is neither projected nor left free knowingly."""
    leaves = layers.leaves_by_path(params)
    for layer in found:
        if re.search(settings.output_pattern, layer.name) and not settings.project_output:
            continue
        for name, path in layer.leaves.items():
            if layer.kind == "other" and leaves[path].ndim >= 2:
                known = ", ".join(layers.WEIGHT_NAMES)
                raise checks.ConfigError(
                    f"{SECTION}: parameter {name!r} of {layer.name!r}: expected a matrix to be "
                    f"called one of {known}, or output_pattern to match the module and free it"
                )


def _raise(key: str, value: str, expected: str, names: list[str]) -> NoReturn:
    listed = f": {', '.join(names)}" if names else ""
    raise checks.ConfigError(f"{SECTION}.{key} = {value!r}: expected {expected}{listed}")


def initial_radii(params: Any, settings: ProjectionSettings) -> dict[str, jax.Array]:
    """The radius of each projected layer, a scalar by its name, given the initial parameters.

    Raises:
      ConfigError: as `projected_layers`.
    """
    leaves = layers.leaves_by_path(params)
    groups = projected_layers(params, settings)
    norms = {layer.name: layers.group_norm(leaves, layer) for layer in groups}
    return {layer.name: _radius(layer, leaves, norms, settings) for layer in groups}


def _radius(
    layer: layers.Layer,
    leaves: Mapping[str, jax.Array],
    norms: Mapping[str, jax.Array],
    settings: ProjectionSettings,
) -> jax.Array:
    norm = norms[layer.name]
    if layer.kind == "norm":
        first = next(iter(layer.leaves.values()))
        size = leaves[layer.leaves.get("scale", first)].size
        return jnp.full_like(norm, size**0.5)
    if settings.radius == "init":
        return norm
    fan_out = leaves[layer.weights[0]].shape[-1]
    radius = fan_out**0.5 if settings.radius == "sqrt_fan_out" else float(settings.radius)
    if settings.noisy == "separate" and "sigma_w" in layer.leaves:
        mean_norm = norms[layer.name.removesuffix("sigma") + "mu"]
        return radius * norm / jnp.where(mean_norm > 0, mean_norm, 1)
    return jnp.full_like(norm, radius)


def project_params(
    params: Any, radii: Mapping[str, jax.Array], settings: ProjectionSettings
) -> Any:
    """Puts each projected layer on its sphere: W <- radius W / ||W||.

    Before the first update this starts a run on its spheres where the radius is not "init".

    Args:
      params: any parameters of the network that `radii` belong to.
      radii: as `initial_radii` gives them.
      settings: which layers to take.
    """
    groups = projected_layers(params, settings)
    return layers.scale_leaves(params, _factors(layers.leaves_by_path(params), groups, radii))


def weight_projection(settings: ProjectionSettings) -> optax.GradientTransformation:
    """The projection as the last link of an optax chain: changes u so that p + u is projected.

    A layer whose norm, or whose initial norm with radius "init", is zero has no direction: it
    is left as it is. With a seed axis, vmap `init` and `update`.

    Args:
      settings: what to project; `moments` must be "keep", a link can't reach the others' states.

    Raises:
      ConfigError: if `moments` is "rescale"; from `init`, as `projected_layers`.
    """
    if settings.moments != "keep":
        _raise("moments", settings.moments, "'keep' in a chain; project() can rescale", [])
    if not settings.enabled:
        return optax.identity()

    def update(updates, state, params=None):
        updates, state, _ = _advance(updates, state, params, settings)
        return updates, state

    return optax.GradientTransformation(lambda params: _init(params, settings), update)


def project(
    inner: optax.GradientTransformation, settings: ProjectionSettings
) -> optax.GradientTransformation:
    """Wraps an optimizer so that the parameters stay on their spheres after `apply_updates`.

    As `weight_projection` behind `inner`, and the moments of Adam, AMSGrad, RMSProp, Lion and
    momentum, anywhere in the inner state, can be rescaled. Source: Lyle et al. 2024, projection
    of weights; the rescaling follows from grad f(cw) = grad f(w) / c (van Laarhoven 2017).

    Args:
      inner: the optimizer, learning rate included.
      settings: what to project, where to and when.

    Raises:
      ConfigError: from `init`, as `projected_layers`, and if there are no moments to rescale.
    """
    if not settings.enabled:
        return inner
    inner = optax.with_extra_args_support(inner)

    def init(params):
        inner_state = inner.init(params)
        if settings.moments == "rescale":
            _check_moments(inner_state, params)
        return ProjectedState(inner_state, _init(params, settings))

    def update(updates, state, params=None, **extra):
        updates, inner_state = inner.update(updates, state.inner, params, **extra)
        updates, projection, factors = _advance(updates, state.projection, params, settings)
        if settings.moments == "rescale":
            inner_state = moments.rescale(inner_state, factors)
        return updates, ProjectedState(inner_state, projection)

    return optax.GradientTransformationExtraArgs(init, update)


def _init(params: Any, settings: ProjectionSettings) -> ProjectionState:
    radii = initial_radii(params, settings)
    initial = {}
    if settings.scale_offset == "decay_to_init":
        leaves = layers.leaves_by_path(params)
        # A copy: parameters and optimizer state may be donated together.
        initial = {path: jnp.copy(leaves[path]) for path in _norm_paths(params, settings)}
    return ProjectionState(jnp.zeros((), jnp.int32), radii, initial)


def _norm_paths(params: Any, settings: ProjectionSettings) -> list[str]:
    norms = [x for x in _find_layers(params, settings) if x.kind in ("norm", "free_norm")]
    return [path for layer in norms for path in layer.leaves.values()]


def _advance(
    updates: Any, state: ProjectionState, params: Any, settings: ProjectionSettings
) -> tuple[Any, ProjectionState, dict[str, jax.Array]]:
    """Projects params + updates; returns new updates, new state, and each leaf's factor."""
    if params is None:
        raise ValueError("the projection needs the parameters: pass them to update()")
    count = state.count + 1
    is_due = True if settings.period_updates == 1 else count % settings.period_updates == 0
    candidates = jax.tree.map(jnp.add, params, updates)
    groups = projected_layers(params, settings)
    factors = _factors(layers.leaves_by_path(candidates), groups, state.radii, is_due)

    def change(path, u, p, candidate):
        key = jax.tree_util.keystr(path)
        if key in state.initial:
            return u + settings.decay_rate * (state.initial[key] - candidate)
        if key not in factors:
            return u
        # Also where none is due and the factor is 1: p + ((p + u) - p) is p + u but for a last
        # bit, and a `where` between this and u makes the whole update twice as slow on a CPU.
        return candidate * factors[key].astype(candidate.dtype) - p

    updates = jax.tree_util.tree_map_with_path(change, updates, params, candidates)
    return updates, state._replace(count=count), factors


def _factors(
    leaves: Mapping[str, jax.Array],
    groups: list[layers.Layer],
    radii: Mapping[str, jax.Array],
    is_due: jax.Array | bool = True,
) -> dict[str, jax.Array]:
    """Each leaf's factor radius / norm by path; 1 if either is zero or it isn't due."""
    factors = {}
    for layer in groups:
        norm, radius = layers.group_norm(leaves, layer), radii[layer.name]
        factor = radius / jnp.where(norm > 0, norm, 1)
        factor = jnp.where((norm > 0) & (radius > 0) & is_due, factor, 1)
        factors.update(dict.fromkeys(layer.leaves.values(), factor))
    return factors


def _check_moments(inner_state: Any, params: Any) -> None:
    paths = moments.paths(inner_state)
    if not paths or paths - set(layers.leaves_by_path(params)):
        expected = "'keep': found no moments in the optimizer's state laid out as the parameters"
        _raise("moments", "rescale", expected, [])
