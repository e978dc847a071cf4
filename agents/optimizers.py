"""The optimizer that the section `optimizer` of a configuration describes."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents import base
from core import checks, settings, types
from networks import nonlinearity
from plasticity import adam_ages, layers, norm_growth, schedules
from plasticity import moments as moments_lib
from plasticity import projection as projection_lib
from plasticity.interventions import base as interventions
from plasticity.metrics import gradient_metrics, layer_metrics

_SECTION = "optimizer"
_OWN_ARGUMENTS = ("learning_rate",)
_DEFAULT_KWARGS = {"b1": 0.9, "b2": 0.999, "eps": 1.5625e-4}
_OWN_OPTIMIZERS = {"adam_ages": adam_ages.adam_ages}
# Their steps are no multiples of the learning rate, or need the loss as well.
_NOT_BY_RATE = {"fromage", "lbfgs", "rprop", "scale_by_learning_rate", "scale_by_rprop"}
# A maximum in place of an average, and a trace of updates: neither rescales as moments do.
_OTHER_MOMENTS = {"adamax", "adamaxw"}


def _find(name: str) -> Any:
    """The function of that name, ours or optax's; None if there is none."""
    return _OWN_OPTIMIZERS.get(name) or getattr(optax, name, None)


def _is_optimizer(name: Any) -> bool:
    """Whether a name is a function that makes an optimizer of a learning rate."""
    candidate = _find(name) if isinstance(name, str) and name not in _NOT_BY_RATE else None
    if not inspect.isfunction(candidate):
        return False
    parameters = inspect.signature(candidate).parameters
    others = [p for name, p in parameters.items() if name != "learning_rate"]
    return "learning_rate" in parameters and all(p.default is not p.empty for p in others)


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(_find(name)).parameters


_SHARE_KEPT = checks.Check(
    "a number >= 0 and < 1", lambda v: checks.number(0, 1).accepts(v) and v != 1
)
_KNOWN_ARGUMENTS = {"b1": _SHARE_KEPT, "b2": _SHARE_KEPT, "eps": checks.number(0)}


def _like(default: Any) -> checks.Check:
    """What an argument with this default may be: optax itself looks at none."""
    if isinstance(default, bool):
        return checks.boolean()
    if isinstance(default, (int, float)):
        return checks.Check("a finite number", checks.number(float("-inf")).accepts)
    return checks.plain_value()


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `optimizer`."""

    name: str = settings.key(
        "adam",
        checks.Check("an optimizer of optax, such as 'adam' or 'sgd', or adam_ages", _is_optimizer),
        "a function of optax; or adam_ages, whose bias correction can begin anew for single units",
        "DQN Zoo",
    )
    learning_rate: float = settings.key(
        6.25e-5, checks.number(0, open_low=True), "its peak, where a schedule follows", "DQN Zoo"
    )
    kwargs: Mapping[str, Any] = settings.key(
        _DEFAULT_KWARGS,
        checks.plain(),
        "arguments of that function, but for the learning rate",
        "DQN Zoo's Adam: eps 0.005 / 32 (1.5e-4 in Hessel et al. 2018)",
    )
    max_gradient_norm: float = settings.key(
        10.0,
        checks.number(0),
        "to which gradients are clipped, globally; 0: no clipping",
        "DQN Zoo",
    )
    schedule: schedules.ScheduleSettings = settings.section(schedules.ScheduleSettings)
    projection: projection_lib.ProjectionSettings = settings.section(
        projection_lib.ProjectionSettings
    )

    def __post_init__(self):
        """Raises ConfigError for an argument that the optimizer does not take, or a bad value."""
        allowed = sorted(set(_parameters(self.name)) - set(_OWN_ARGUMENTS))
        for key, value in self.kwargs.items():
            if key not in allowed:
                raise checks.ConfigError(
                    f"optimizer.kwargs.{key} = {value!r}: expected an argument of "
                    f"{self.name}: {', '.join(allowed)}"
                )
            check = _KNOWN_ARGUMENTS.get(key) or _like(_parameters(self.name)[key].default)
            if not check.accepts(value):
                raise checks.ConfigError(
                    f"optimizer.kwargs.{key} = {value!r}: expected {check.allowed}"
                )

    def argument(self, key: str) -> Any:
        """That the optimizer is made with, its own default if not given; None if it has none."""
        own = _parameters(self.name).get(key)
        return self.kwargs.get(key, None if own is None else own.default)


def check_schedules(section: Any, frames_per_update: float, path: str = _SECTION) -> None:
    """Builds the schedules of a section or its subsections; raises ConfigError if one fails."""
    if isinstance(section, Settings):
        if path != _SECTION and section.schedule.name == "norm_growth":
            raise checks.ConfigError(
                f"{path}.schedule.name = 'norm_growth': expected another one: it replays norms "
                "that an agent with one network recorded"
            )
        with checks.renamed(_SECTION, path):
            schedules.make_schedule(section.schedule, section.learning_rate, frames_per_update)
            schedules.make_layer_factors(
                section.schedule, projection_lib.Projection(section.projection)
            )
    elif dataclasses.is_dataclass(section):
        for field in dataclasses.fields(section):
            inner = getattr(section, field.name)
            check_schedules(inner, frames_per_update, f"{path}.{field.name}")


class RateState(NamedTuple):
    """Learning-rate state: updates done, int32 [], and the rate of the last one, float32 []."""

    count: jax.Array
    learning_rate: jax.Array


class ChainState(NamedTuple):
    """The optimizer's state without that of a constraint around it.

    Attributes:
      moments: of the clipping and of optax's optimizer.
      rate: of the schedule.
      factors: of a layer-wise schedule.
      transforms: of the interventions' transforms.
    """

    moments: Any
    rate: RateState
    factors: Any
    transforms: Any


def make(
    chosen: Settings,
    frames_per_update: float,
    declare: layers.Declare,
    used: Sequence[interventions.Intervention] = (),
) -> optax.GradientTransformationExtraArgs:
    """Builds clip -> optimizer -> rate -> layers' factors -> transforms -> constraints -> NaP.

    Args:
      chosen: the section.
      frames_per_update: converts a schedule's frames into updates.
      declare: says what the network's layers are.
      used: interventions, whose transforms and constraints are applied here.

    Raises:
      ConfigError: for a bad value in the schedule or in the projection.
    """
    projected = projection_lib.Projection(chosen.projection, declare)
    schedule = schedules.make_schedule(chosen.schedule, chosen.learning_rate, frames_per_update)
    chain = _chain(
        _make_moments(chosen),
        schedule,
        schedules.make_layer_factors(chosen.schedule, projected),
        optax.chain(optax.identity(), *(x.transform for x in used if x.transform is not None)),
    )
    # Last those that hold parameters somewhere, as others would move them away again.
    for item in sorted(used, key=lambda item: bool(item.held)):
        if item.constraint is not None:
            chain = item.constraint(chain)
    return optax.with_extra_args_support(projection_lib.project(chain, projected))


def check(
    chosen: Settings,
    used: Mapping[str, interventions.Intervention],
    shapes: Any,
    declare: layers.Declare,
    nonlinear: nonlinearity.Nonlinearity,
) -> None:
    """Raises ConfigError if NaP contradicts a constraint, or the network's nonlinearity or norm.

    Args:
      chosen: the section.
      used: interventions by name.
      shapes: of the parameters.
      declare: says what the network's layers are.
      nonlinear: its nonlinearity and norm.
    """
    if not chosen.projection.enabled:
        return
    if nonlinear.norm.statistics == "constant":
        # Gradients then have a part along the weights, which the projection would throw away.
        raise checks.ConfigError(
            "network.norm.statistics = 'constant': expected 'learned' with "
            "optimizer.projection.enabled = True"
        )
    has_trace = chosen.name == "rmsprop" and chosen.kwargs.get("momentum")
    if chosen.projection.moments == "rescale" and (chosen.name in _OTHER_MOMENTS or has_trace):
        momentum = " with momentum" if has_trace else ""
        raise checks.ConfigError(
            f"optimizer.projection.moments = 'rescale': expected 'keep' with optimizer.name = "
            f"{chosen.name!r}{momentum}"
        )
    projected = projection_lib.Projection(chosen.projection, declare)
    found = projection_lib.selected_layers(shapes, projected)
    nap = frozenset(path for layer in found for path in layer.leaves.values())
    for name, item in used.items():
        interventions.check_held({name: item.held, "optimizer.projection": nap})
    _check_invariance(chosen.projection, nonlinear)


def _check_invariance(
    chosen: projection_lib.ProjectionSettings, nonlinear: nonlinearity.Nonlinearity
) -> None:
    """Raises ConfigError if a projection of weights, or of scales, would change the function."""
    activation, norm = nonlinear.activation, nonlinear.norm
    if norm.is_active and norm.position == "post" and not activation.is_homogeneous:
        raise checks.ConfigError(
            f"network.activation.kind = {activation.kind!r}: expected one to which the size of the "
            "weights before it does not matter, such as 'relu', with network.norm.position = "
            "'post' and optimizer.projection.enabled = True"
        )
    if chosen.scale_offset != "joint_sqrt_d":
        return
    if norm.is_active and nonlinear.layer_has_bias:
        key = "position = 'post'" if norm.position == "post" else "keep_bias = True"
        raise checks.ConfigError(
            "optimizer.projection.scale_offset = 'joint_sqrt_d': expected 'free' or "
            f"'decay_to_init' with network.norm.{key}, as the layers that read a norm's output "
            "then have biases, beside which its scale matters"
        )
    if not activation.is_homogeneous:
        raise checks.ConfigError(
            "optimizer.projection.scale_offset = 'joint_sqrt_d': expected 'free' or "
            f"'decay_to_init' with network.activation.kind = {activation.kind!r}, to which the "
            "scale of its input matters"
        )


def check_reset(
    chosen: Settings, used: Mapping[str, interventions.Intervention], shapes: Any
) -> None:
    """Raises ConfigError if an intervention resets moments, and the optimizer's are not known."""
    if not moments_lib.has_others(jax.eval_shape(_make_moments(chosen).init, shapes)):
        return
    for name, item in used.items():
        if item.operation is not None and item.operation.resets_moments:
            raise checks.ConfigError(
                f"optimizer.name = {chosen.name!r}: expected adam_ages, adam, adamw, amsgrad, "
                "adabelief, lion, rmsprop or sgd, whose moments can be reset, with the "
                f"intervention {name!r}"
            )


def _make_moments(chosen: Settings) -> optax.GradientTransformation:
    # A learning rate of 1 only flips the sign: the schedule's comes after it.
    optimizer = _find(chosen.name)(learning_rate=1.0, **chosen.kwargs)
    if not chosen.max_gradient_norm:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(chosen.max_gradient_norm), optimizer)


def _chain(
    moments: optax.GradientTransformation,
    schedule: optax.Schedule,
    factors: optax.GradientTransformation,
    transforms: optax.GradientTransformation,
) -> optax.GradientTransformation:
    def init(params):
        rate = RateState(jnp.zeros((), jnp.int32), _as_array(schedule(jnp.zeros((), jnp.int32))))
        return ChainState(moments.init(params), rate, factors.init(params), transforms.init(params))

    def update(updates, state, params=None):
        updates, of_moments = moments.update(updates, state.moments, params)
        rate = _as_array(schedule(state.rate.count))
        updates = jax.tree.map(lambda u: rate.astype(u.dtype) * u, updates)
        updates, of_factors = factors.update(updates, state.factors, params)
        updates, of_transforms = transforms.update(updates, state.transforms, params)
        after = RateState(jnp.asarray(optax.safe_increment(state.rate.count)), rate)
        return updates, ChainState(of_moments, after, of_factors, of_transforms)

    return optax.GradientTransformation(init, update)


def _as_array(rate: Any) -> jax.Array:
    # In the wider type where enabled: the updates are computed in it.
    return jnp.asarray(rate, float)


def learning_rate(opt_state: Any) -> jax.Array:
    """The schedule's learning rate of the last update, float32 []; of several, the first's."""
    return _parts(opt_state, RateState)[0].learning_rate


def layer_rates(opt_state: Any, names: Sequence[str]) -> dict[str, jax.Array]:
    """Each layer's learning rate in the last update, scalars by the names asked for."""
    rate = learning_rate(opt_state)
    growth = _parts(opt_state, norm_growth.NormGrowthState)
    factors = growth[0].factors if growth else {}
    return {name: rate * factors[name] if name in factors else rate for name in names}


def _parts(opt_state: Any, kind: type) -> list[Any]:
    is_kind = lambda part: isinstance(part, kind)  # noqa: E731
    return [x for x in jax.tree_util.tree_leaves(opt_state, is_leaf=is_kind) if is_kind(x)]


def forget(opt_state: Any, fresh: Any, what: base.Forget) -> Any:
    """An optimizer's state, or several in a tree, with parts taken from a fresh one."""
    if what.params:
        opt_state = _replace(opt_state, fresh, projection_lib.ProjectionState)
        opt_state = _forget_constraints(opt_state, fresh)
    return _forget_parts(opt_state, fresh, what)


def _forget_parts(opt_state: Any, fresh: Any, what: base.Forget) -> Any:
    is_chain = lambda part: isinstance(part, ChainState)  # noqa: E731

    def replace(old, new):
        if not is_chain(old):
            return old
        if what.moments:
            old = old._replace(moments=new.moments)
        if what.params:
            old = old._replace(transforms=new.transforms)
        return old._replace(rate=new.rate, factors=new.factors) if what.schedule else old

    return jax.tree.map(replace, opt_state, fresh, is_leaf=is_chain)


def _forget_constraints(opt_state: Any, fresh: Any) -> Any:
    """The state with the constraints' own parts, such as radii, from a fresh one."""
    is_constraint = lambda part: isinstance(part, interventions.ConstraintState)  # noqa: E731

    def replace(old, new):
        if not is_constraint(old):
            return old
        return old._replace(inner=_forget_constraints(old.inner, new.inner), own=new.own)

    return jax.tree.map(replace, opt_state, fresh, is_leaf=is_constraint)


def _replace(opt_state: Any, fresh: Any, kind: type) -> Any:
    is_kind = lambda part: isinstance(part, kind)  # noqa: E731
    return jax.tree.map(
        lambda old, new: new if is_kind(old) else old, opt_state, fresh, is_leaf=is_kind
    )


def carry_over(fresh: Any, old: Any) -> Any:
    """A new optimizer's state with what fits of another's: moments, counts, radii.

    Args:
      fresh: initialized with the parameters that are to be continued.
      old: of the optimizer before.
    """
    is_part = lambda node: isinstance(node, (ChainState, projection_lib.ProjectionState))  # noqa: E731
    found = {kind: _parts(old, kind) for kind in (ChainState, projection_lib.ProjectionState)}

    def carry(node):
        before = found[type(node)] if is_part(node) else []
        if not before:
            return node
        kept = carry_over_parts(node._asdict(), before[0]._asdict())
        return type(node)(**kept)

    left = [x.own for x in _constraints(old)]
    return jax.tree.map(carry, _carry_constraints(fresh, left), is_leaf=is_part)


def _constraints(opt_state: Any) -> list[interventions.ConstraintState]:
    """The states of constraints, also of those around others."""
    outer = _parts(opt_state, interventions.ConstraintState)
    return outer + [inner for state in outer for inner in _constraints(state.inner)]


def _carry_constraints(fresh: Any, left: list[Any]) -> Any:
    """A fresh state, with the first of `left` that fits each of its constraints, taken from it."""
    is_constraint = lambda part: isinstance(part, interventions.ConstraintState)  # noqa: E731

    def carry(node):
        if not is_constraint(node):
            return node
        fits = (i for i, own in enumerate(left) if _layout(own) == _layout(node.own))
        found = next(fits, None)
        own = node.own if found is None else left.pop(found)
        return node._replace(inner=_carry_constraints(node.inner, left), own=own)

    return jax.tree.map(carry, fresh, is_leaf=is_constraint)


def _layout(tree: Any) -> tuple[Any, list[Any]]:
    shapes = [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(tree)]
    return jax.tree.structure(tree), shapes


def carry_over_parts(fresh: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a fresh state, those that the old one has in the same shape taken from it."""
    return {
        name: old[name] if name in old and _layout(old[name]) == _layout(part) else part
        for name, part in fresh.items()
    }


def start_params(params: Any, chosen: Settings, declare: layers.Declare) -> Any:
    """New parameters at their radii, so the first projection causes no jump."""
    projected = projection_lib.Projection(chosen.projection, declare)
    if not chosen.projection.enabled:
        return params
    radii = projection_lib.initial_radii(params, projected)
    return projection_lib.project_params(params, radii, projected)


def on_spheres(params: Any, opt_state: Any, chosen: Settings, declare: layers.Declare) -> Any:
    """Parameters that something else has changed, back at their radii if they are projected."""
    if not chosen.projection.enabled:
        return params
    radii = _parts(opt_state, projection_lib.ProjectionState)[0].radii
    projected = projection_lib.Projection(chosen.projection, declare)
    return projection_lib.project_params(params, radii, projected)


def norms(params: Any, chosen: Settings, declare: layers.Declare) -> dict[str, jax.Array]:
    """The norms of the layers that are projected, or would be, scalars by name."""
    projected = projection_lib.Projection(chosen.projection, declare)
    return layer_metrics.layer_norms(params, projection_lib.selected_layers(params, projected))


def measure(
    params: Any,
    grads: Any,
    updates: Any,
    opt_state: Any,
    chosen: Settings,
    declare: Callable[[Any], Sequence[types.DeclaredLayer]],
    td_grads: Any = None,
) -> dict[str, dict[str, jax.Array]]:
    """{quantity: {layer: scalar}} of an update; a quantity that a layer lacks is left out.

    norm: ||W||; gradient_norm: before clipping; update_ratio: ||dW|| / ||W||, the projection's part
    of dW included; learning_rate: the layer's own; updated_units_td: without the regularizers'
    gradients; the others as in plasticity/metrics/gradient_metrics.py.

    Args:
      params: before it.
      grads: their gradients.
      updates: what is added to the parameters.
      opt_state: after it.
      chosen: the section `optimizer`.
      declare: says what the network's layers are.
      td_grads: gradients of the agent's loss alone; None if there is nothing else.
    """
    found = layers.find_layers(params, declare, chosen.projection.noisy)
    td_grads = grads if td_grads is None else td_grads
    b2, eps = (float(chosen.argument(key) or 0) for key in ("b2", "eps"))
    return {
        "norm": layer_metrics.layer_norms(params, found),
        "mean_abs_weight": gradient_metrics.mean_abs_weights(params, found),
        "gradient_norm": layer_metrics.layer_norms(grads, found),
        **gradient_metrics.of_gradients(grads, found),
        "updated_units": gradient_metrics.updated_units(grads, found),
        "updated_units_td": gradient_metrics.updated_units(td_grads, found),
        "update_ratio": layer_metrics.update_ratios(updates, params, found),
        "tangential_ratio": gradient_metrics.tangential_ratios(updates, params, found),
        **gradient_metrics.of_adam(grads, opt_state, found, b2, eps),
        "learning_rate": layer_rates(opt_state, [layer.name for layer in found]),
    }
