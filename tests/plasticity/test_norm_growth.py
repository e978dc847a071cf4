"""Recorded norms: the file's form and errors, interpolation, and the factors made of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from core import checks
from plasticity import norm_growth, projection
from plasticity.metrics import layer_metrics

_PROJECTION = projection.Projection(
    projection.ProjectionSettings(enabled=True, scale_offset="free")
)


def _recorded():
    """Layers a and b; total norm 5, then 13 at update 10, then 13 at update 30."""
    return norm_growth.RecordedNorms(
        ("a", "b"), np.array([0, 10, 30]), np.array([[3.0, 4.0], [5.0, 12.0], [12.0, 5.0]])
    )


def _write(tmp_path, text):
    path = tmp_path / "norms.csv"
    path.write_text(text)
    return str(path)


def _params():
    norm = {"scale": jnp.ones(2), "offset": jnp.ones(2)}
    weights = {name: {"w": jnp.ones((2, 2)), "b": jnp.ones(2)} for name in ("b", "a", "output")}
    return {**weights, "value_norm": norm}


def test_written_norms_are_read_back_exactly(tmp_path):
    path = str(tmp_path / "norms.csv")
    rows = [{"a": 1 / 3, "b": jnp.float32(0.1)}, {"a": 2 / 3, "b": jnp.float32(0.2)}]
    for updates, row in zip((0, 1000), rows):
        norm_growth.append_row(path, updates, row)
    recorded = norm_growth.RecordedNorms.load(path)
    assert recorded.names == ("a", "b")
    assert recorded.updates.tolist() == [0, 1000]
    expected = [[1 / 3, np.float32(0.1)], [2 / 3, np.float32(0.2)]]
    np.testing.assert_array_equal(recorded.norms, expected)


def test_norms_of_a_network_are_recorded_under_the_layers_names(tmp_path):
    path = str(tmp_path / "norms.csv")
    groups = projection.projected_layers(_params(), _PROJECTION)
    for updates in (0, 5):
        norm_growth.append_row(path, updates, layer_metrics.layer_norms(_params(), groups))
    recorded = norm_growth.RecordedNorms.load(path)
    assert recorded.names == ("a", "b")
    np.testing.assert_allclose(recorded.norms, 6**0.5, rtol=1e-6)


def test_rows_that_a_resumed_run_wrote_again_count(tmp_path):
    path = _write(tmp_path, "updates,a\n0,1\n10,2\n20,3\n10,5\n20,6\n")
    recorded = norm_growth.RecordedNorms.load(path)
    assert recorded.updates.tolist() == [0, 10, 20]
    assert recorded.norms[:, 0].tolist() == [1, 5, 6]


def test_rows_of_other_layers_are_not_appended(tmp_path):
    path = str(tmp_path / "norms.csv")
    norm_growth.append_row(path, 0, {"a": 1.0})
    with pytest.raises(checks.ConfigError, match="holds norms of other layers: a"):
        norm_growth.append_row(path, 1, {"b": 1.0})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found nothing"),
        ("step,a\n0,1\n1,2\n", "expected a header 'updates,<layer>,...', found 'step,a'"),
        ("updates\n0\n1\n", "expected a header"),
        ("updates,a,a\n0,1,1\n1,2,2\n", "expected a header"),
        ("updates,a\n", "two rows or more, the first of update 0, found 0"),
        ("updates,a\n0,1\n", "two rows or more, the first of update 0, found 1"),
        ("updates,a\n5,1\n6,2\n", "two rows or more, the first of update 0"),
        ("updates,a\n0,1\n1\n", "line 3: expected an update count and 1 norms > 0"),
        ("updates,a\n0,1\n1.5,1\n", "line 3"),
        ("updates,a\n0,0\n1,1\n", "line 2"),
        ("updates,a\n0,nan\n1,1\n", "line 2"),
        ("updates,a\n0,inf\n1,1\n", "line 2"),
        ("updates,a\n0,x\n1,1\n", "line 2"),
        ("updates,a\n\n0,1\n1,1\n", "line 2"),
    ],
)
def test_malformed_files_are_refused_in_one_line(tmp_path, text, message):
    path = _write(tmp_path, text)
    with pytest.raises(checks.ConfigError) as error:
        norm_growth.RecordedNorms.load(path)
    assert str(error.value).startswith(f"optimizer.schedule.norms_file = {path!r}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(checks.ConfigError, match="can't be read"):
        norm_growth.RecordedNorms.load(str(tmp_path / "none.csv"))


def test_norms_are_interpolated_and_the_last_is_held():
    at = jax.jit(_recorded().at)
    expected = {0: [3, 4], 5: [4, 8], 10: [5, 12], 15: [6.75, 10.25], 30: [12, 5], 99: [12, 5]}
    for count, norms in expected.items():
        np.testing.assert_allclose(at(jnp.int32(count)), norms, rtol=1e-6)


def test_interpolation_is_exact_beyond_the_integers_of_float32():
    """Between updates 2^25 and 2^25 + 4, a quarter of the way is a quarter."""
    start = 2**25
    recorded = norm_growth.RecordedNorms(
        ("a",), np.array([0, start, start + 4]), np.array([[1.0], [2.0], [6.0]])
    )
    assert [float(recorded.at(jnp.int32(start + i))[0]) for i in range(5)] == [2, 3, 4, 5, 6]


def test_global_factor_is_the_ratio_of_total_norms():
    counts = jnp.array([0, 10, 30, 40])
    for power in (1, 2):
        factors = jax.vmap(norm_growth.global_factor(_recorded(), power))(counts)
        ratio = (5 / 13) ** power
        np.testing.assert_allclose(factors, [1, ratio, ratio, ratio], rtol=1e-6)


def _factors(transformation, updates):
    """The factor by which each leaf of the parameters is scaled in the last of `updates` calls."""
    ones = jax.tree.map(jnp.ones_like, _params())
    state = transformation.init(_params())
    for _ in range(updates):
        scaled, state = transformation.update(ones, state, _params())
    return jax.tree.map(lambda x: float(x.ravel()[0]), scaled)


def test_layer_wise_factors_go_to_their_layers_biases_included():
    """Update number 11 starts from 10 updates done: 3 / 5 for a, 4 / 12 for b, 1 for the rest."""
    for power in (1, 2):
        factors = _factors(norm_growth.scale_by_norm_growth(_recorded(), power, _PROJECTION), 11)
        assert factors["a"]["w"] == factors["a"]["b"] == pytest.approx((3 / 5) ** power)
        assert factors["b"]["w"] == factors["b"]["b"] == pytest.approx((4 / 12) ** power)
        assert factors["output"] == {"w": 1, "b": 1}
        assert factors["value_norm"] == {"scale": 1, "offset": 1}


def test_global_factors_go_to_every_leaf():
    transformation = norm_growth.scale_by_norm_growth(_recorded(), 1, _PROJECTION, layer_wise=False)
    leaves = jax.tree.leaves(_factors(transformation, 11))
    np.testing.assert_allclose(leaves, 5 / 13, rtol=1e-6)


def test_layers_of_record_and_network_must_be_the_same():
    params = _params()
    transformation = norm_growth.scale_by_norm_growth(_recorded(), 1, _PROJECTION)
    with pytest.raises(checks.ConfigError, match="no column for the projected layer 'c'"):
        transformation.init({**params, "c": {"w": jnp.ones((2, 2))}})
    del params["b"]
    with pytest.raises(checks.ConfigError, match="column 'b' is not a projected layer"):
        transformation.init(params)


def test_factors_work_inside_a_projected_optimizer_under_vmap():
    factors = norm_growth.scale_by_norm_growth(_recorded(), 1, _PROJECTION)
    optimizer = projection.project(optax.chain(optax.sgd(0.1), factors), _PROJECTION)
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), _params())

    def update(params):
        updates, state = optimizer.update(params, optimizer.init(params), params)
        return optax.apply_updates(params, updates), state.inner[1].count

    params, counts = jax.jit(jax.vmap(update))(stacked)
    assert counts.tolist() == [1, 1]
    # The gradient is along the weights: the projection takes the whole step back.
    np.testing.assert_allclose(params["a"]["w"], stacked["a"]["w"], rtol=1e-6)
