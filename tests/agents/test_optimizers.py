"""The optimizer of a configuration against optax's own, and the learning rates that it tells."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import optimizers
from core import checks
from plasticity import layers, norm_growth, projection, schedules
from plasticity.interventions import base as interventions
from plasticity.interventions import trac
from tests.core import sections

FRAMES_PER_UPDATE = 4
CONSTANT = schedules.ScheduleSettings()
COSINE = schedules.ScheduleSettings(name="cosine", duration=10, end_value=1e-4)


def params():
    """Two hidden layers and an output layer."""
    random = np.random.RandomState(0)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)  # noqa: E731
    return {
        "a": {"w": draw(3, 4), "b": draw(4)},
        "b": {"w": draw(4, 4)},
        "output": {"w": draw(4, 2)},
    }


def gradients(step):
    random = np.random.RandomState(100 + step)
    draw = lambda leaf: jnp.asarray(random.normal(size=leaf.shape), jnp.float32)  # noqa: E731
    return jax.tree.map(draw, params())


def make(used=(), **changes):
    chosen = optimizers.Settings(**{"learning_rate": 1e-2, **changes})
    return optimizers.make(chosen, FRAMES_PER_UPDATE, layers.by_name, used)


def run(optimizer, num_updates=5):
    """All parameters on the way, and the optimizer's last state."""

    @jax.jit
    def step(values, state, grads):
        updates, state = optimizer.update(grads, state, values)
        return optax.apply_updates(values, updates), state

    values = [params()]
    state = optimizer.init(values[0])
    for t in range(num_updates):
        after, state = step(values[-1], state, gradients(t))
        values.append(after)
    return values, state


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("max_gradient_norm", [0.0, 1.0])
@pytest.mark.parametrize("schedule", [CONSTANT, COSINE], ids=lambda schedule: schedule.name)
def test_adam_is_optaxs_bit_by_bit(schedule, max_gradient_norm):
    """Over five updates, with its arguments, with and without clipping and a decay."""
    arguments = {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "eps_root": 1e-6}
    rate = 1e-2 if schedule is CONSTANT else optax.cosine_decay_schedule(1e-2, 10, 1e-4 / 1e-2)
    expected = optax.adam(rate, **arguments)
    if max_gradient_norm:
        expected = optax.chain(optax.clip_by_global_norm(max_gradient_norm), expected)
    optimizer = make(kwargs=arguments, schedule=schedule, max_gradient_norm=max_gradient_norm)
    found, _ = run(optimizer)
    assert_same(found, run(expected)[0])
    assert not np.array_equal(found[0]["a"]["w"], found[5]["a"]["w"])


def test_centered_rmsprop_is_optaxs():
    """DQN's: the mean of gradients is subtracted from that of their squares."""
    arguments = {"decay": 0.95, "eps": 1e-5, "centered": True}
    found, state = run(make(name="rmsprop", kwargs=arguments, max_gradient_norm=0.0))
    assert_same(found, run(optax.rmsprop(1e-2, **arguments))[0])
    is_centered = lambda part: isinstance(part, optax.ScaleByRStdDevState)  # noqa: E731
    assert any(map(is_centered, jax.tree.leaves(state, is_leaf=is_centered)))


def test_optimizers_that_need_the_parameters_are_given_them():
    """AdamW's decay of weights, after the learning rate as in optax."""
    arguments = {"weight_decay": 0.1}
    found, _ = run(make(name="adamw", kwargs=arguments, max_gradient_norm=0.0))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)  # noqa: E731
    jax.tree.map(close, found, run(optax.adamw(1e-2, **arguments))[0])


def test_unknown_arguments_are_refused_in_one_line():
    allowed = sorted(set(inspect.signature(optax.sgd).parameters) - {"learning_rate"})
    with pytest.raises(checks.ConfigError) as error:
        sections.parse(optimizers.Settings, "optimizer", name="sgd", kwargs={"b1": 0.9})
    assert str(error.value) == (
        f"optimizer.kwargs.b1 = 0.9: expected an argument of sgd: {', '.join(allowed)}"
    )
    with pytest.raises(checks.ConfigError, match=r"^optimizer\.kwargs\.learning_rate = 0\.1: "):
        optimizers.Settings(kwargs={"learning_rate": 0.1})


@pytest.mark.parametrize(
    ("name", "key", "value", "allowed"),
    [
        ("adam", "b1", 1.5, "a number >= 0 and < 1"),
        ("adam", "b1", "x", "a number >= 0 and < 1"),
        ("adam", "eps", float("nan"), "a number >= 0"),
        ("adam", "nesterov", "no", "true or false"),
        ("adamw", "weight_decay", True, "a finite number"),
        ("sgd", "momentum", float("inf"), "a finite number, text"),
    ],
)
def test_arguments_of_another_kind_are_refused_in_one_line(name, key, value, allowed):
    """Optax looks at none: any text is true to it."""
    with pytest.raises(checks.ConfigError) as error:
        optimizers.Settings(name=name, kwargs={key: value})
    expected = f"optimizer.kwargs.{key} = {value!r}: expected {allowed}"
    assert str(error.value).startswith(expected)


def test_an_argument_that_is_not_given_is_the_optimizers_own():
    assert optimizers.Settings(name="yogi", kwargs={}).argument("eps") == 1e-3
    assert optimizers.Settings(name="adam", kwargs={}).argument("b2") == 0.999
    assert optimizers.Settings().argument("eps") == 1.5625e-4
    assert optimizers.Settings(name="sgd", kwargs={}).argument("eps") is None


@pytest.mark.parametrize(
    "name", ["adamm", "chain", "clip", "", 3, "fromage", "lbfgs", "rprop", "scale_by_rprop"]
)
def test_unknown_optimizers_are_refused_in_one_line(name):
    """Among them functions of optax whose steps are no multiples of a learning rate."""
    with pytest.raises(checks.ConfigError) as error:
        sections.parse(optimizers.Settings, "optimizer", name=name, kwargs={})
    assert str(error.value) == (
        f"optimizer.name = {name!r}: expected an optimizer of optax, such as 'adam' or "
        "'sgd', or adam_ages"
    )


def test_the_learning_rate_is_the_one_of_the_last_update():
    """A warm-up from 1e-8: that is the first update's, and what its step was made with."""
    warmup = schedules.ScheduleSettings(
        name="warmup_cosine", init_value=1e-8, warmup=10, duration=100, end_value=0.0
    )
    optimizer = make(name="sgd", kwargs={}, schedule=warmup, max_gradient_norm=0.0)
    state = optimizer.init(params())
    for t in range(3):
        updates, state = optimizer.update(gradients(t), state, params())
        rate = optimizers.learning_rate(state)
        expected = 1e-8 + t / 10 * (1e-2 - 1e-8)
        assert float(rate) == pytest.approx(expected, rel=1e-3, abs=1e-9)
        assert_same(updates, jax.tree.map(lambda g, r=rate: r * -g, gradients(t)))


def test_before_an_update_the_learning_rate_is_that_of_the_first():
    assert float(optimizers.learning_rate(make().init(params()))) == pytest.approx(1e-2)


def norms_file(tmp_path):
    """The norm of a grows from 3 to 6 in ten updates, that of b from 4 to 16."""
    path = str(tmp_path / "norms.csv")
    norm_growth.append_row(path, 0, {"a": 3.0, "b": 4.0})
    norm_growth.append_row(path, 10, {"a": 6.0, "b": 16.0})
    return path


@pytest.mark.parametrize("is_projected", [False, True])
def test_rates_of_layers_are_those_that_they_moved_by(tmp_path, is_projected):
    """At five updates a has 3 / 4.5 of the rate, b 4 / 10; the output layer has all of it."""
    growth = schedules.ScheduleSettings(name="norm_growth", norms_file=norms_file(tmp_path))
    projected = projection.ProjectionSettings(enabled=is_projected, scale_offset="free")
    optimizer = make(
        name="sgd", kwargs={}, schedule=growth, projection=projected, max_gradient_norm=0.0
    )
    state = optimizer.init(params())
    for t in range(6):
        updates, state = optimizer.update(gradients(t), state, params())
    rates = optimizers.layer_rates(state, ("a", "b", "output"))
    expected = {"a": 1e-2 * 3 / 4.5, "b": 1e-2 * 4 / 10, "output": 1e-2}
    assert {name: float(rate) for name, rate in rates.items()} == pytest.approx(expected)
    moved = ("output",) if is_projected else tuple(expected)
    for layer in moved:
        np.testing.assert_allclose(
            updates[layer]["w"], -expected[layer] * gradients(5)[layer]["w"], rtol=1e-5
        )


def test_transforms_come_after_the_learning_rate_and_constraints_around_all():
    """By hand: -rate g, plus 1 of the transform, times 10 of the constraint."""
    add_one = optax.stateless(lambda updates, _: jax.tree.map(lambda u: u + 1, updates))
    used = [
        interventions.Intervention(transform=add_one),
        interventions.Intervention(constraint=lambda inner: optax.chain(inner, optax.scale(10.0))),
    ]
    optimizer = make(used, name="sgd", kwargs={}, max_gradient_norm=0.0)
    updates, state = optimizer.update(gradients(0), optimizer.init(params()), params())
    expected = jax.tree.map(lambda g: 10 * (1 - 1e-2 * g), gradients(0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updates, expected)
    assert float(optimizers.learning_rate(state)) == pytest.approx(1e-2)


def test_a_run_starts_on_its_spheres():
    """With another radius than the initial norm; without projection nothing is moved."""
    projected = projection.ProjectionSettings(enabled=True, radius=2.0, scale_offset="free")
    chosen = optimizers.Settings(projection=projected)
    started = optimizers.start_params(params(), chosen, layers.by_name)
    norms = optimizers.norms(started, chosen, layers.by_name)
    assert {name: float(norm) for name, norm in norms.items()} == pytest.approx({"a": 2, "b": 2})
    assert_same(started["output"], params()["output"])
    assert_same(optimizers.start_params(params(), optimizers.Settings(), layers.by_name), params())


@pytest.mark.parametrize("is_projected", [False, True])
def test_the_state_of_a_constraint_is_carried_over(is_projected):
    """As into a branch with another learning rate."""
    used = [trac.make(trac.Settings(), None)]
    projected = projection.ProjectionSettings(enabled=is_projected, scale_offset="free")
    _, state = run(make(used, projection=projected))
    fresh = make(used, projection=projected, learning_rate=1.0).init(params())
    assert_same(optimizers.carry_over(fresh, state), state)


def test_moments_and_rate_are_carried_over_where_a_constraint_goes():
    _, state = run(make([trac.make(trac.Settings(), None)]))
    kept = optimizers.carry_over(make().init(params()), state)
    assert_same(kept, state.inner)
