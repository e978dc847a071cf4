"""Normalize-and-Project: keeps each hidden layer's parameters on a sphere, so that the effective
learning rate is the scheduled one (Lyle et al. 2024, arXiv 2407.01800).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import optax

from core import checks
from core import settings as settings_lib
from plasticity import layers, moments

SECTION = "optimizer.projection"


def _is_radius(value: Any) -> bool:
    if value in ("init", "sqrt_fan_out"):
        return True
    try:
        return not isinstance(value, bool) and 0 < float(value) < float("inf")
    except (TypeError, ValueError):
        return False


@dataclasses.dataclass(frozen=True)
class ProjectionSettings:
    """What is projected, where to, and when: the section `optimizer.projection`.

    The norm is that of a whole layer: its weights, with its biases where it has any, as one
    vector; they are all multiplied by the same factor.
    """

    enabled: bool = settings_lib.key(
        False, checks.boolean(), "whether to project at all", "DQN Zoo has none"
    )
    radius: str | float = settings_lib.key(
        "init",
        checks.Check("'init', 'sqrt_fan_out' or a number > 0", _is_radius),
        "of a layer's sphere: init, its norm when the optimizer was initialized; sqrt_fan_out, the "
        "root of the length of the weights' last axis; or a number, also as text",
        "Lyle et al. 2024",
    )
    period_updates: int = settings_lib.key(
        1,
        checks.integer(1),
        "updates between projections; the paper found 1 and 1000 nearly alike",
        "Lyle et al. 2024",
    )
    moments: Literal["keep", "rescale"] = settings_lib.key(
        "keep",
        checks.one_of("keep", "rescale"),
        "the inner optimizer's moments when a layer's norm falls by the factor k: kept, or the "
        "first divided by k and the second by k^2, as the gradients grow, which alone makes a "
        "projected run equal to a free one",
        "Lyle et al. 2024",
    )
    noisy: layers.Noisy = settings_lib.key(
        "joint",
        checks.one_of("joint", "separate", "mu_only"),
        "noisy layers: mu and sigma on one sphere (the only factor a norm cancels), each on its "
        "own (which fixes their ratio as well; with a radius other than init, mu gets it and sigma "
        "keeps its initial ratio to mu), or sigma free",
        "ours",
    )
    scale_offset: Literal["free", "joint_sqrt_d", "decay_to_init"] = settings_lib.key(
        "joint_sqrt_d",
        checks.one_of("free", "joint_sqrt_d", "decay_to_init"),
        "scales and offsets of norms: free; both as one vector on a sphere of radius sqrt(number "
        "of scales), which changes nothing where a layer without bias and a norm follow (a "
        "positively homogeneous nonlinearity), so not of norms that feed an output layer; or all "
        "of them drawn to their initial values",
        "Lyle et al. 2024",
    )
    decay_rate: float = settings_lib.key(
        1e-5,
        checks.number(0, 1),
        "by which share of the distance decay_to_init draws, per update",
        "ours",
    )
    project_output: bool = settings_lib.key(
        False,
        checks.boolean(),
        "whether output layers are projected too; their scale matters",
        "Lyle et al. 2024",
    )


@dataclasses.dataclass(frozen=True)
class Projection:
    """Settings, and the network they apply to.

    Attributes:
      settings: what is projected, where to, and when.
      declare: says what the network's layers are.
    """

    settings: ProjectionSettings
    declare: layers.Declare = layers.by_name


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


def projected_layers(params: Any, projection: Projection) -> list[layers.Layer]:
    """The layers that are projected, after checking that the settings fit the network.

    Args:
      params: the parameters of one network, arrays or shapes.
      projection: which layers to take.

    Raises:
      ConfigError: if nothing would be projected, a kind of layer that the settings name was not
        declared, or a matrix was not, so that it would silently stay free.
    """
    found = _find_layers(params, projection)
    _check_matches(found, projection)
    _check_matrices(found, params)
    return selected_layers(params, projection)


def selected_layers(params: Any, projection: Projection) -> list[layers.Layer]:
    """`projected_layers` without the checks: layers whose norms a free run records.

    The network of such a run need not fit the settings: it may have no norms, for example.
    """
    kinds = {"hidden"}
    kinds |= {"output"} if projection.settings.project_output else set()
    kinds |= {"norm"} if projection.settings.scale_offset == "joint_sqrt_d" else set()
    return [layer for layer in _find_layers(params, projection) if layer.kind in kinds]


def _find_layers(params: Any, projection: Projection) -> list[layers.Layer]:
    return layers.find_layers(params, projection.declare, projection.settings.noisy)


def _check_matches(found: list[layers.Layer], projection: Projection) -> None:
    """Raises ConfigError if a kind of layer that the settings name does not occur."""
    kinds = {layer.kind for layer in found}
    weighted = [layer.name for layer in found if layer.kind in layers.WEIGHTED]
    norms = [layer.name for layer in found if layer.kind in ("norm", "free_norm")]
    treatment, is_output_projected = (
        projection.settings.scale_offset,
        projection.settings.project_output,
    )
    if "output" not in kinds and not is_output_projected:
        _raise("project_output", False, "a network that declares an output layer", weighted)
    if "hidden" not in kinds and not ("output" in kinds and is_output_projected):
        _raise("enabled", True, "a network that declares a hidden layer", weighted)
    if treatment != "free" and not norms:
        _raise("scale_offset", treatment, "'free' for a network without scales and offsets", [])
    if treatment == "joint_sqrt_d" and "free_norm" not in kinds:
        _raise("scale_offset", treatment, "a norm declared to feed an output layer", norms)


def _check_matrices(found: list[layers.Layer], params: Any) -> None:
    """Raises ConfigError for a matrix whose layer was not declared."""
    leaves = layers.leaves_by_path(params)
    for layer in found:
        for name, path in layer.leaves.items():
            if layer.kind == "other" and leaves[path].ndim >= 2:
                raise checks.ConfigError(
                    f"{SECTION}: parameter {name!r} of {layer.name!r}: expected its layer to be "
                    "declared (networks/declared.py)"
                )


def _raise(key: str, value: Any, expected: str, names: list[str]) -> NoReturn:
    listed = f": {', '.join(names)}" if names else ""
    raise checks.ConfigError(f"{SECTION}.{key} = {value!r}: expected {expected}{listed}")


def initial_radii(params: Any, projection: Projection) -> dict[str, jax.Array]:
    """The radius of each projected layer, a scalar by its name, given the initial parameters.

    Raises:
      ConfigError: as `projected_layers`.
    """
    leaves = layers.leaves_by_path(params)
    groups = projected_layers(params, projection)
    norms = {layer.name: layers.group_norm(leaves, layer) for layer in groups}
    return {layer.name: _radius(layer, leaves, norms, projection) for layer in groups}


def _radius(
    layer: layers.Layer,
    leaves: Mapping[str, jax.Array],
    norms: Mapping[str, jax.Array],
    projection: Projection,
) -> jax.Array:
    norm = norms[layer.name]
    if layer.kind == "norm":
        first = next(iter(layer.leaves.values()))
        size = leaves[layer.leaves.get("scale", first)].size
        return jnp.full_like(norm, size**0.5)
    if projection.settings.radius == "init":
        return norm
    fan_out = leaves[layer.weights[0]].shape[-1]
    chosen = projection.settings.radius
    radius = fan_out**0.5 if chosen == "sqrt_fan_out" else float(chosen)
    if projection.settings.noisy == "separate" and layer.name.endswith("/sigma"):
        mean_norm = norms[layer.name.removesuffix("sigma") + "mu"]
        return radius * norm / jnp.where(mean_norm > 0, mean_norm, 1)
    return jnp.full_like(norm, radius)


def project_params(params: Any, radii: Mapping[str, jax.Array], projection: Projection) -> Any:
    """Puts each projected layer on its sphere: W <- radius W / ||W||.

    Before the first update this starts a run on its spheres where the radius is not "init".

    Args:
      params: any parameters of the network that `radii` belong to.
      radii: as `initial_radii` gives them.
      projection: which layers to take.
    """
    groups = projected_layers(params, projection)
    return layers.scale_leaves(params, _factors(layers.leaves_by_path(params), groups, radii))


def weight_projection(projection: Projection) -> optax.GradientTransformation:
    """The projection as the last link of an optax chain: changes u so that p + u is projected.

    A layer whose norm, or whose initial norm with radius "init", is zero has no direction: it
    is left as it is. With a seed axis, vmap `init` and `update`.

    Args:
      projection: what to project; `moments` must be "keep": a link can't reach the others' states.

    Raises:
      ConfigError: if `moments` is "rescale"; from `init`, as `projected_layers`.
    """
    if projection.settings.moments != "keep":
        _raise(
            "moments", projection.settings.moments, "'keep' in a chain; project() can rescale", []
        )
    if not projection.settings.enabled:
        return optax.identity()

    def update(updates, state, params=None):
        updates, state, _ = _advance(updates, state, params, projection)
        return updates, state

    return optax.GradientTransformation(lambda params: _init(params, projection), update)


def project(
    inner: optax.GradientTransformation, projection: Projection
) -> optax.GradientTransformation:
    """Wraps an optimizer so that the parameters stay on their spheres after `apply_updates`.

    As `weight_projection` after `inner`; the moments of Adam, AMSGrad, RMSProp, Lion and
    momentum, anywhere in the inner state, can be rescaled too. Source: Lyle et al. 2024, projection
    of weights; the rescaling follows from grad f(cw) = grad f(w) / c (van Laarhoven 2017).

    Args:
      inner: the optimizer, learning rate included.
      projection: what to project, where to and when.

    Raises:
      ConfigError: from `init`, as `projected_layers`, and if there are no moments to rescale.
    """
    if not projection.settings.enabled:
        return inner
    inner = optax.with_extra_args_support(inner)

    def init(params):
        inner_state = inner.init(params)
        if projection.settings.moments == "rescale":
            _check_moments(inner_state, params)
        return ProjectedState(inner_state, _init(params, projection))

    def update(updates, state, params=None, **extra):
        updates, inner_state = inner.update(updates, state.inner, params, **extra)
        updates, advanced, factors = _advance(updates, state.projection, params, projection)
        if projection.settings.moments == "rescale":
            inner_state = moments.rescale(inner_state, factors)
        return updates, ProjectedState(inner_state, advanced)

    return optax.GradientTransformationExtraArgs(init, update)


def _init(params: Any, projection: Projection) -> ProjectionState:
    radii = initial_radii(params, projection)
    initial = {}
    if projection.settings.scale_offset == "decay_to_init":
        leaves = layers.leaves_by_path(params)
        # A copy: parameters and optimizer state may be donated together.
        initial = {path: jnp.copy(leaves[path]) for path in _norm_paths(params, projection)}
    return ProjectionState(jnp.zeros((), jnp.int32), radii, initial)


def _norm_paths(params: Any, projection: Projection) -> list[str]:
    norms = [x for x in _find_layers(params, projection) if x.kind in ("norm", "free_norm")]
    return [path for layer in norms for path in layer.leaves.values()]


def _advance(
    updates: Any, state: ProjectionState, params: Any, projection: Projection
) -> tuple[Any, ProjectionState, dict[str, jax.Array]]:
    """Projects params + updates; returns new updates, new state, and each leaf's factor."""
    if params is None:
        raise ValueError("the projection needs the parameters: pass them to update()")
    count = state.count + 1
    period = projection.settings.period_updates
    is_due = True if period == 1 else count % period == 0
    candidates = jax.tree.map(jnp.add, params, updates)
    groups = projected_layers(params, projection)
    factors = _factors(layers.leaves_by_path(candidates), groups, state.radii, is_due)

    def change(path, u, p, candidate):
        key = jax.tree_util.keystr(path)
        if key in state.initial:
            return u + projection.settings.decay_rate * (state.initial[key] - candidate)
        if key not in factors:
            return u
        # Also where none is due and the factor is 1: p + ((p + u) - p) is p + u up to the last
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
