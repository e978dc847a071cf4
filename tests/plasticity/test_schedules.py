"""Learning rates of each schedule at chosen updates, computed by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import optimizers
from core import checks, settings
from plasticity import layers, norm_growth, projection, schedules
from tests.core import sections

_FREE_NORMS = projection.Projection(
    projection.ProjectionSettings(enabled=True, scale_offset="free"), layers.by_name
)


def _settings(**changes):
    changes = {"duration": 1_250_000, **changes}
    return sections.parse(schedules.ScheduleSettings, schedules.SECTION, **changes)


def _make(learning_rate=1e-3, frames_per_update=16, **changes):
    return schedules.make_schedule(_settings(**changes), learning_rate, frames_per_update)


def _values(schedule, counts):
    """The schedule's values, jitted as in an optimizer."""
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.array(counts, jnp.int32)), np.float64)


def _norms_file(tmp_path):
    """Total norm 5 at update 0 and 10 at update 100."""
    path = str(tmp_path / "norms.csv")
    norm_growth.append_row(path, 0, {"a": 3.0, "b": 4.0})
    norm_growth.append_row(path, 100, {"a": 6.0, "b": 8.0})
    return path


def test_constant():
    assert _make()(123) == 1e-3


def test_linear_begins_and_ends_where_it_is_told():
    schedule = _make(name="linear", begin=100, duration=200, end_value=2e-4)
    values = _values(schedule, [0, 100, 150, 300, 9999])
    np.testing.assert_allclose(values, [1e-3, 1e-3, 8e-4, 2e-4, 2e-4], rtol=1e-5)


def test_cosine_is_half_a_wave():
    schedule = _make(name="cosine", duration=400, end_value=1e-4)
    quarter = 1e-4 + 9e-4 * (1 + math.cos(math.pi / 4)) / 2
    values = _values(schedule, [0, 100, 200, 400, 500])
    np.testing.assert_allclose(values, [1e-3, quarter, 5.5e-4, 1e-4, 1e-4], rtol=1e-5)


def test_warmup_cosine_of_the_papers_continual_run():
    """The defaults: 1e-8 to the peak in 1000 updates, 1e-6 after 1.25M."""
    schedule = _make(6.25e-4, name="warmup_cosine")
    middle = (6.25e-4 + 1e-6) / 2
    values = _values(schedule, [0, 500, 1000, 1000 + 1_249_000 // 2, 1_250_000])
    expected = [1e-8, (6.25e-4 + 1e-8) / 2, 6.25e-4, middle, 1e-6]
    # In float32 the start is the small difference of two rates: 1e-8 to a few parts in 1000.
    np.testing.assert_allclose(values, expected, rtol=5e-3)


def test_piecewise_multiplies_at_each_boundary():
    schedule = _make(name="piecewise", boundaries=(10, 20), scales=(0.5, 0.1))
    values = _values(schedule, [0, 9, 10, 19, 20, 1000])
    np.testing.assert_allclose(values, [1e-3, 1e-3, 5e-4, 5e-4, 5e-5, 5e-5], rtol=1e-5)


def test_lengths_in_frames_are_converted_to_updates():
    """20M frames at 16 an update are 1.25M updates, 16000 are 1000."""
    frames = {"unit": "frames", "warmup": 16_000, "duration": 20_000_000}
    in_frames, in_updates = _make(name="warmup_cosine", **frames), _make(name="warmup_cosine")
    counts = [0, 999, 1000, 700_000, 1_249_999, 1_250_000, 2_000_000]
    np.testing.assert_array_equal(_values(in_frames, counts), _values(in_updates, counts))
    piecewise = _make(name="piecewise", unit="frames", boundaries=(160, 320), scales=(0.5, 0.5))
    np.testing.assert_allclose(_values(piecewise, [9, 10, 20]), [1e-3, 5e-4, 2.5e-4], rtol=1e-6)


def test_schedule_drives_an_optimizer():
    schedule = _make(1.0, name="piecewise", boundaries=(2,), scales=(0.25,))
    optimizer = optax.sgd(schedule)
    params, state = jnp.float32(0), optimizer.init(jnp.float32(0))
    for _ in range(4):
        updates, state = optimizer.update(jnp.float32(-1), state, params)
        params = optax.apply_updates(params, updates)
    assert float(params) == 2.5


def test_global_norm_growth_is_a_schedule(tmp_path):
    """Total norm 5 -> 10 linearly: at update 50 norms (4.5, 6), total 7.5."""
    growth = {"name": "norm_growth", "norms_file": _norms_file(tmp_path), "layer_wise": False}
    values = _values(_make(**growth), [0, 50, 100, 1000])
    np.testing.assert_allclose(values, [1e-3, 1e-3 * 5 / 7.5, 5e-4, 5e-4], rtol=1e-5)
    values = _values(_make(**growth, power=2), [0, 100])
    np.testing.assert_allclose(values, [1e-3, 2.5e-4], rtol=1e-5)


def _two_layers():
    return {name: {"w": jnp.ones((2, 2))} for name in ("a", "b", "output")}


def test_layer_wise_norm_growth_is_a_constant_rate_and_factors(tmp_path):
    chosen = _settings(name="norm_growth", norms_file=_norms_file(tmp_path))
    assert schedules.make_schedule(chosen, 1e-3, 16)(70) == 1e-3
    factors = schedules.make_layer_factors(chosen, _FREE_NORMS)
    updates, state = _two_layers(), factors.init(_two_layers())
    for _ in range(101):
        scaled, state = factors.update(updates, state)
    np.testing.assert_allclose(scaled["a"]["w"], 0.5)
    np.testing.assert_allclose(scaled["output"]["w"], 1.0)


def _rates_at(counts, **changes):
    """The rates of a, b and c, by update, in an optimizer made of the section."""
    chosen = optimizers.Settings(
        learning_rate=1e-3,
        schedule=_settings(**changes),
        projection=_FREE_NORMS.settings,
    )
    optimizer = optimizers.make(chosen, 16, layers.by_name)
    params = _two_layers()
    state, rates = optimizer.init(params), {}
    update = jax.jit(optimizer.update)
    for count in range(max(counts) + 1):
        _, state = update(params, state, params)
        if count in counts:
            found = optimizers.layer_rates(state, ("a", "b", "c"))
            rates[count] = {name: float(rate) for name, rate in found.items()}
    return rates


def test_rates_of_layers_under_layer_wise_norm_growth(tmp_path):
    """The norm of a is 3 at update 0 and 6 at 100, so 4.5 at 50; c has no recorded norm."""
    growth = {"name": "norm_growth", "norms_file": _norms_file(tmp_path)}
    rates = _rates_at((50, 100), **growth)
    assert rates[50]["a"] == pytest.approx(1e-3 * 3 / 4.5)
    assert rates[100]["b"] == pytest.approx(1e-3 / 2)
    assert rates[100]["c"] == pytest.approx(1e-3)
    squared = _rates_at((100,), **growth, power=2)
    assert squared[100]["a"] == pytest.approx(1e-3 / 4)


def test_rates_of_layers_under_other_schedules_are_the_schedules(tmp_path):
    linear = {"name": "linear", "duration": 100, "end_value": 0.0}
    assert _rates_at((25,), **linear)[25]["a"] == pytest.approx(7.5e-4)
    growth = {"name": "norm_growth", "norms_file": _norms_file(tmp_path), "layer_wise": False}
    rates = _rates_at((100,), **growth)[100]
    assert rates["a"] == rates["c"] == pytest.approx(5e-4)


@pytest.mark.parametrize("name", ["constant", "warmup_cosine", "norm_growth"])
def test_other_schedules_have_no_layer_factors(name, tmp_path):
    chosen = _settings(name=name, layer_wise=False, norms_file=_norms_file(tmp_path))
    factors = schedules.make_layer_factors(chosen, _FREE_NORMS)
    updates = _two_layers()
    scaled, _ = factors.update(updates, factors.init(updates))
    jax.tree.map(np.testing.assert_array_equal, scaled, updates)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "warmup"}, "schedule.name = 'warmup': expected one of 'constant'"),
        ({"unit": "steps"}, "schedule.unit = 'steps'"),
        ({"duration": 0}, "schedule.duration = 0: expected an integer >= 1"),
        (
            {"name": "linear", "duration": None},
            "schedule.duration = None: expected an integer >= 1",
        ),
        ({"end_value": -1.0}, "schedule.end_value = -1.0"),
        (
            {"name": "warmup_cosine", "warmup": 10, "duration": 10},
            "schedule.warmup = 10: expected less than duration = 10",
        ),
        (
            {"name": "piecewise", "boundaries": (20, 10), "scales": (1.0, 1.0)},
            "schedule.boundaries = (20, 10): expected increasing updates",
        ),
        (
            {"name": "piecewise", "boundaries": (20, 30), "scales": (1.0,)},
            "schedule.scales = (1.0,): expected one for each of the 2 boundaries",
        ),
        (
            {"name": "linear", "unit": "frames", "duration": 7},
            "schedule.duration = 7: expected at least one update of 16 frames",
        ),
        ({"name": "norm_growth", "layer_wise": False}, "norms_file = ''"),
        ({"power": 3}, "schedule.power = 3: expected one of 1, 2"),
    ],
)
def test_bad_settings_are_named_in_one_line(changes, message):
    with pytest.raises(checks.ConfigError) as error:
        _make(**changes)
    assert str(error.value).startswith("optimizer.schedule.")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("learning_rate", [0, -1e-3, float("nan"), True])
def test_learning_rate_must_be_positive(learning_rate):
    with pytest.raises(checks.ConfigError, match=r"^optimizer\.learning_rate = "):
        sections.parse(optimizers.Settings, "optimizer", learning_rate=learning_rate)


def test_a_length_that_was_never_given_is_refused():
    """A section that did not come through training/derived.py."""
    chosen = schedules.ScheduleSettings(name="linear")
    with pytest.raises(
        checks.ConfigError, match=r"^optimizer\.schedule\.duration = None: expected"
    ):
        schedules.make_schedule(chosen, 1e-3, 16)


def test_unknown_and_missing_keys_are_refused():
    with pytest.raises(checks.ConfigError, match=r"schedule\.warm_up = 3: unknown key"):
        _settings(warm_up=3)
    section = settings.to_config(schedules.ScheduleSettings()).to_dict()
    del section["unit"]
    with pytest.raises(checks.ConfigError, match=r"schedule\.unit is missing"):
        settings.parse(schedules.ScheduleSettings, section, schedules.SECTION)
