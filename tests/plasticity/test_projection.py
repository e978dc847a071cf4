"""The projection as an optax transformation: what it moves, how far, and when."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from core import checks, types
from plasticity import layers, projection
from plasticity.metrics import layer_metrics
from tests.core import sections


def _normal(seed, *shape, scale=1.0):
    return jnp.asarray(np.random.RandomState(seed).normal(size=shape) * scale, jnp.float32)


def _params():
    """A plain hidden layer with bias, a noisy one, norms, an output layer."""
    return {
        "hidden": {"w": _normal(0, 6, 4), "b": _normal(1, 4)},
        "norm": {"scale": 1 + _normal(2, 4, scale=0.3), "offset": _normal(3, 4, scale=0.3)},
        "value_hidden": {"mu_w": _normal(4, 4, 5), "sigma_w": _normal(5, 4, 5, scale=0.1)},
        "value_norm": {"scale": 1 + _normal(6, 5, scale=0.3), "offset": _normal(7, 5)},
        "value_output": {"mu_w": _normal(8, 5, 3), "sigma_w": _normal(9, 5, 3, scale=0.1)},
    }


def _declare(params, output_pattern="output", free_norm_pattern="value_norm"):
    return layers.by_name(params, output_pattern, free_norm_pattern)


def _projection(declare=_declare, **changes):
    """Of the network above, whose norms are free unless said otherwise."""
    chosen = {"enabled": True, "scale_offset": "free", **changes}
    return projection.Projection(projection.ProjectionSettings(**chosen), declare)


def _gradients(seed, params):
    leaves, structure = jax.tree.flatten(params)
    gradients = [_normal(seed * 100 + i, *leaf.shape) for i, leaf in enumerate(leaves)]
    return structure.unflatten(gradients)


def _run(optimizer, params, updates):
    """Parameters after updates with random gradients."""

    @jax.jit
    def step(params, state, gradients):
        change, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, change), state

    state = optimizer.init(params)
    for t in range(updates):
        params, state = step(params, state, _gradients(t, params))
    return params, state


def _norm(*arrays):
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(x, np.float64))) for x in arrays)))


def test_update_puts_the_new_parameters_on_the_sphere():
    """W becomes radius (W + u) / ||W + u||, bias included, for u of plain SGD; by hand."""
    params = {"hidden": {"w": jnp.array([[3.0, 0.0]]), "b": jnp.array([0.0, 4.0])}}
    params["output"] = {"w": jnp.array([[1.0], [1.0]])}
    gradients = {"hidden": {"w": jnp.array([[0.0, 2.0]]), "b": jnp.array([0.0, 0.0])}}
    gradients["output"] = {"w": jnp.array([[1.0], [0.0]])}
    optimizer = projection.project(optax.sgd(1.0), _projection())
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    new_params = optax.apply_updates(params, updates)
    factor = 5 / 29**0.5
    np.testing.assert_allclose(new_params["hidden"]["w"], [[3 * factor, -2 * factor]], rtol=1e-6)
    np.testing.assert_allclose(new_params["hidden"]["b"], [0, 4 * factor], rtol=1e-6)
    np.testing.assert_array_equal(new_params["output"]["w"], [[0.0], [1.0]])


def test_norms_stay_at_the_radius_over_thousands_of_float32_updates():
    """To 1e-5 relative after 3000 updates that each move the weights by percents."""
    params = _params()
    optimizer = projection.project(optax.adam(0.03), _projection(scale_offset="joint_sqrt_d"))

    def step(carry, rng):
        params, state = carry
        leaves, structure = jax.tree.flatten(params)
        rngs = jax.random.split(rng, len(leaves))
        noise = [jax.random.normal(r, x.shape) for r, x in zip(rngs, leaves)]
        change, state = optimizer.update(structure.unflatten(noise), state, params)
        return (optax.apply_updates(params, change), state), None

    rngs = jax.random.split(jax.random.PRNGKey(0), 3000)
    (params, state), _ = jax.jit(lambda c: jax.lax.scan(step, c, rngs))(
        (params, optimizer.init(params))
    )
    initial = _params()
    expected = {name: _norm(*initial[name].values()) for name in ("hidden", "value_hidden")}
    expected["norm"] = 2.0
    assert set(state.projection.radii) == set(expected)
    for name, radius in expected.items():
        assert _norm(*params[name].values()) == pytest.approx(radius, rel=1e-5)
    assert not np.allclose(params["hidden"]["w"], initial["hidden"]["w"], atol=0.1)


def test_norm_of_a_full_size_layer_is_exact_in_float32():
    """3136 x 512 weights: the sum of 1.6 million squares loses less than 1e-6."""
    params = {"hidden": {"w": _normal(0, 3136, 512)}, "output": {"w": _normal(1, 2, 2)}}
    new_params, _ = _run(projection.project(optax.sgd(0.01), _projection()), params, 2)
    radius = _norm(params["hidden"]["w"])
    assert _norm(new_params["hidden"]["w"]) == pytest.approx(radius, rel=1e-6)


def test_free_leaves_get_the_inner_update_itself():
    """Output layers and, with scale_offset free, norms move exactly as without projection."""
    params = _params()
    projected, _ = _run(projection.project(optax.adam(0.01), _projection()), params, 1)
    plain, _ = _run(optax.adam(0.01), params, 1)
    for name in ("norm", "value_norm", "value_output"):
        for leaf in params[name]:
            np.testing.assert_array_equal(projected[name][leaf], plain[name][leaf])
    assert not np.allclose(projected["hidden"]["w"], plain["hidden"]["w"], atol=1e-4)


def test_chained_link_equals_the_wrapper_that_keeps_moments():
    params, chosen = _params(), _projection(scale_offset="joint_sqrt_d")
    chain = optax.chain(optax.adam(0.01), projection.weight_projection(chosen))
    chained, _ = _run(chain, params, 5)
    wrapped, _ = _run(projection.project(optax.adam(0.01), chosen), params, 5)
    jax.tree.map(np.testing.assert_array_equal, chained, wrapped)


def test_disabled_projection_is_the_inner_optimizer():
    params, chosen = _params(), _projection(enabled=False)
    plain, _ = _run(optax.adam(0.01), params, 3)
    chain = optax.chain(optax.adam(0.01), projection.weight_projection(chosen))
    for optimizer in (projection.project(optax.adam(0.01), chosen), chain):
        params_t, _ = _run(optimizer, params, 3)
        jax.tree.map(np.testing.assert_array_equal, params_t, plain)


def test_period_projects_in_every_third_update_only():
    """Two updates grow the norm as SGD does, the third returns it to the radius."""
    params = _params()
    radius = _norm(*params["hidden"].values())
    optimizer = projection.project(optax.sgd(0.1), _projection(period_updates=3))
    for updates in range(1, 7):
        projected, _ = _run(optimizer, params, updates)
        norm = _norm(*projected["hidden"].values())
        assert (norm == pytest.approx(radius, rel=1e-6)) == (updates % 3 == 0)
    plain, _ = _run(optax.sgd(0.1), params, 2)
    unprojected, _ = _run(optimizer, params, 2)
    np.testing.assert_allclose(unprojected["hidden"]["w"], plain["hidden"]["w"], rtol=1e-6)


@pytest.mark.parametrize(("radius", "expected"), [("sqrt_fan_out", 2.0), (0.5, 0.5), ("0.5", 0.5)])
def test_radius_can_be_the_root_of_fan_out_or_a_number(radius, expected):
    params, _ = _run(projection.project(optax.sgd(0.1), _projection(radius=radius)), _params(), 1)
    assert _norm(*params["hidden"].values()) == pytest.approx(expected, rel=1e-6)


def test_joint_noisy_layer_keeps_the_norm_of_the_pair_only():
    params = _params()
    projected, _ = _run(projection.project(optax.sgd(0.1), _projection()), params, 5)
    before, after = params["value_hidden"], projected["value_hidden"]
    assert _norm(*after.values()) == pytest.approx(_norm(*before.values()), rel=1e-6)
    assert _norm(after["sigma_w"]) > 1.5 * _norm(before["sigma_w"])


def test_separate_noisy_layers_keep_both_norms():
    params = _params()
    optimizer = projection.project(optax.sgd(0.1), _projection(noisy="separate"))
    projected, _ = _run(optimizer, params, 5)
    for leaf, initial in params["value_hidden"].items():
        assert _norm(projected["value_hidden"][leaf]) == pytest.approx(_norm(initial), rel=1e-6)


def test_separate_noise_keeps_its_ratio_to_the_mean_at_another_radius():
    params = _params()
    ratio = _norm(params["value_hidden"]["sigma_w"]) / _norm(params["value_hidden"]["mu_w"])
    radii = projection.initial_radii(params, _projection(noisy="separate", radius=3.0))
    assert float(radii["value_hidden/mu"]) == 3.0
    assert float(radii["value_hidden/sigma"]) == pytest.approx(3 * ratio, rel=1e-5)


def test_mu_only_leaves_the_noise_to_the_optimizer():
    params = _params()
    optimizer = projection.project(optax.sgd(0.1), _projection(noisy="mu_only"))
    projected, _ = _run(optimizer, params, 1)
    plain, _ = _run(optax.sgd(0.1), params, 1)
    before, after = params["value_hidden"], projected["value_hidden"]
    assert _norm(after["mu_w"]) == pytest.approx(_norm(before["mu_w"]), rel=1e-6)
    np.testing.assert_array_equal(after["sigma_w"], plain["value_hidden"]["sigma_w"])


def test_output_layers_are_projected_on_request():
    params = _params()
    optimizer = projection.project(optax.sgd(0.1), _projection(project_output=True))
    projected, _ = _run(optimizer, params, 3)
    initial = _norm(*params["value_output"].values())
    assert _norm(*projected["value_output"].values()) == pytest.approx(initial, rel=1e-6)


def test_joint_sqrt_d_puts_scale_and_offset_on_one_sphere_but_not_the_last():
    """(scale, offset) has norm sqrt(4) together; the norm before the output layer is free."""
    params = _params()
    optimizer = projection.project(optax.sgd(0.1), _projection(scale_offset="joint_sqrt_d"))
    projected, _ = _run(optimizer, params, 1)
    plain, _ = _run(optax.sgd(0.1), params, 1)
    assert _norm(*projected["norm"].values()) == pytest.approx(2.0, rel=1e-6)
    ratio = projected["norm"]["scale"] / plain["norm"]["scale"]
    np.testing.assert_allclose(ratio, projected["norm"]["offset"] / plain["norm"]["offset"], 1e-5)
    np.testing.assert_array_equal(projected["value_norm"]["offset"], plain["value_norm"]["offset"])


def test_joint_sqrt_d_of_a_norm_without_offset():
    """RMSNorm has scales alone: their norm is sqrt(d)."""
    params = _params()
    del params["norm"]["offset"]
    optimizer = projection.project(optax.sgd(0.1), _projection(scale_offset="joint_sqrt_d"))
    projected, _ = _run(optimizer, params, 1)
    assert _norm(projected["norm"]["scale"]) == pytest.approx(2.0, rel=1e-6)


def test_decay_to_init_draws_every_norm_to_its_initial_values():
    """P + u + rate (p0 - p - u): with zero gradients the distance falls by 1 - rate an update."""
    initial = _params()
    chosen = _projection(scale_offset="decay_to_init", decay_rate=0.25)
    optimizer = projection.project(optax.sgd(1.0), chosen)
    state = optimizer.init(initial)
    moved = {**initial, "norm": jax.tree.map(lambda x: x + 8.0, initial["norm"])}
    zeros = jax.tree.map(jnp.zeros_like, initial)
    for distance in (6.0, 4.5):
        updates, state = optimizer.update(zeros, state, moved)
        moved = optax.apply_updates(moved, updates)
        for leaf, value in initial["norm"].items():
            np.testing.assert_allclose(moved["norm"][leaf] - value, distance, rtol=1e-5)
    pushed = {**zeros, "value_norm": jax.tree.map(lambda x: x - 4.0, zeros["value_norm"])}
    updates, _ = optimizer.update(pushed, optimizer.init(initial), initial)
    np.testing.assert_allclose(updates["value_norm"]["scale"], 3.0, rtol=1e-5)


def test_rescaled_moments_follow_the_norm():
    """M grows by k and v by k^2, k = ||W + u|| / radius, of projected leaves alone."""
    params = _params()
    gradients = _gradients(0, params)
    inner = optax.chain(optax.clip_by_global_norm(1e9), optax.adam(0.1))
    states = {}
    for moments in ("keep", "rescale"):
        optimizer = projection.project(inner, _projection(moments=moments))
        _, state = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
        states[moments] = state.inner[1][0]
    plain, _ = inner.update(gradients, inner.init(params), params)
    moved = optax.apply_updates(params, plain)["hidden"]
    k = _norm(*moved.values()) / _norm(*params["hidden"].values())
    assert abs(k - 1) > 1e-3
    for leaf in params["hidden"]:
        for field, factor in (("mu", k), ("nu", k**2)):
            kept, rescaled = (getattr(states[m], field)["hidden"][leaf] for m in states)
            np.testing.assert_allclose(rescaled, factor * kept, rtol=1e-5)
    kept, rescaled = (states[m].mu["value_output"]["mu_w"] for m in states)
    np.testing.assert_array_equal(kept, rescaled)
    assert int(states["rescale"].count) == 1


def test_moments_are_found_inside_nested_and_masked_states():
    """Momentum in a masked link of a chain, of which the output layer has no part."""
    params = _params()
    mask = {
        name: jax.tree.map(lambda _, n=name: n != "value_output", params[name]) for name in params
    }
    inner = optax.chain(optax.masked(optax.trace(0.9), mask), optax.scale(-0.1))
    traces = {}
    for moments in ("keep", "rescale"):
        optimizer = projection.project(inner, _projection(moments=moments))
        _, state = optimizer.update(_gradients(0, params), optimizer.init(params), params)
        traces[moments] = state.inner[0].inner_state.trace
    ratio = np.asarray(traces["rescale"]["hidden"]["w"] / traces["keep"]["hidden"]["w"])
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
    assert abs(ratio[0, 0] - 1) > 1e-3


def test_zero_weights_stay_finite_and_free():
    """A layer whose initial norm is zero has no sphere: it takes the inner updates."""
    params = _params()
    params["hidden"] = jax.tree.map(jnp.zeros_like, params["hidden"])
    optimizer = projection.project(optax.adam(0.1), _projection(moments="rescale"))
    with jax.debug_nans(True):
        projection.project_params(params, optimizer.init(params).projection.radii, _projection())
    projected, state = _run(optimizer, params, 3)
    plain, _ = _run(optax.adam(0.1), params, 3)
    np.testing.assert_allclose(projected["hidden"]["w"], plain["hidden"]["w"], rtol=1e-5)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((projected, state)))


def test_weights_that_become_zero_stay_finite():
    params = _params()
    optimizer = projection.project(optax.sgd(1.0), _projection())
    gradients = {**_gradients(0, params), "hidden": params["hidden"]}
    updates, state = optimizer.update(gradients, optimizer.init(params), params)
    zeroed = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(zeroed["hidden"]["w"], 0)
    updates, _ = optimizer.update(_gradients(1, params), state, zeroed)
    recovered = optax.apply_updates(zeroed, updates)["hidden"]
    assert _norm(*recovered.values()) == pytest.approx(_norm(*params["hidden"].values()), rel=1e-6)


def test_seeds_along_a_leading_axis_are_independent():
    """Vmap over init and update gives what single runs give, each with its own radius."""
    chosen = _projection(scale_offset="joint_sqrt_d", period_updates=2, moments="rescale")
    optimizer = projection.project(optax.adam(0.01), chosen)
    seeds = [_params(), jax.tree.map(lambda x: 2 * x + 0.1, _params())]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *seeds)
    gradients = _gradients(0, _params())

    def two_updates(params):
        state = optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
        return params, state.projection.radii

    together, radii = jax.jit(jax.vmap(two_updates))(stacked)
    assert radii["hidden"].shape == (2,)
    for i, params in enumerate(seeds):
        alone, _ = jax.jit(two_updates)(params)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, 1e-5), together, alone)


@pytest.mark.parametrize("scale_offset", ["joint_sqrt_d", "decay_to_init"])
def test_state_shares_no_buffer_with_the_parameters(scale_offset):
    """Both may be donated to one jitted update, also when init was jitted."""
    optimizer = projection.project(optax.adam(0.01), _projection(scale_offset=scale_offset))

    def step(params, state):
        updates, state = optimizer.update(params, state, params)
        return optax.apply_updates(params, updates), state

    for init in (optimizer.init, jax.jit(optimizer.init)):
        params = _params()
        params, _ = jax.jit(step, donate_argnums=(0, 1))(params, init(params))
        assert np.all(np.isfinite(params["hidden"]["w"]))


def test_state_is_a_tree_of_arrays_with_the_radii():
    """So snapshots carry the radii."""
    state = projection.project(optax.adam(0.01), _projection()).init(_params())
    assert set(state.projection.radii) == {"hidden", "value_hidden"}
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    radius = float(state.projection.radii["hidden"])
    assert radius == pytest.approx(_norm(*_params()["hidden"].values()), rel=1e-6)


def test_project_params_starts_a_run_on_its_spheres():
    params, chosen = _params(), _projection(radius="sqrt_fan_out")
    radii = projection.initial_radii(params, chosen)
    started = projection.project_params(params, radii, chosen)
    groups = projection.projected_layers(params, chosen)
    norms = layer_metrics.layer_norms(started, groups)
    assert float(norms["hidden"]) == pytest.approx(2.0, rel=1e-6)
    assert float(norms["value_hidden"]) == pytest.approx(5**0.5, rel=1e-6)
    np.testing.assert_array_equal(started["norm"]["scale"], params["norm"]["scale"])


def test_outputs_of_a_float32_haiku_network_survive_the_projection():
    """LayerNorm's epsilon of 1e-5 and rounding change the outputs by less than 1e-5 relative."""

    def forward(x):
        for i in range(2):
            x = hk.Linear(32, with_bias=False, name=f"hidden_{i}")(x)
            x = jax.nn.relu(hk.LayerNorm(-1, True, True, name=f"norm_{i}")(x))
        return hk.Linear(3, name="output")(x)

    network = hk.without_apply_rng(hk.transform(forward))
    x = _normal(0, 16, 10)
    params = jax.jit(network.init)(jax.random.PRNGKey(0), x)
    declare = functools.partial(layers.by_name, free_norm_pattern="norm_1")
    chosen = _projection(declare, scale_offset="joint_sqrt_d")
    radii = projection.initial_radii(params, chosen)
    grown = jax.tree.map(lambda p: p, params)
    grown["hidden_0"] = {"w": params["hidden_0"]["w"] * 1.5}
    grown["norm_0"] = jax.tree.map(lambda p: p * 1.2, params["norm_0"])
    apply = jax.jit(network.apply)
    outputs = apply(grown, x)
    projected = apply(projection.project_params(grown, radii, chosen), x)
    np.testing.assert_allclose(projected, outputs, atol=1e-5 * float(jnp.max(jnp.abs(outputs))))


@pytest.mark.parametrize(
    ("patterns", "scale_offset", "message"),
    [
        (
            {"output_pattern": "logits"},
            "free",
            "project_output = False: expected a network that declares an output layer: "
            "hidden, value_hidden, value_output",
        ),
        (
            {"output_pattern": "."},
            "free",
            "enabled = True: expected a network that declares a hidden layer",
        ),
        (
            {"free_norm_pattern": "last"},
            "joint_sqrt_d",
            "scale_offset = 'joint_sqrt_d': expected a norm declared to feed an output layer: "
            "norm, value_norm",
        ),
    ],
)
def test_networks_that_do_not_declare_what_the_settings_speak_of(patterns, scale_offset, message):
    declare = functools.partial(_declare, **patterns)
    chosen = _projection(declare, scale_offset=scale_offset)
    optimizer = projection.project(optax.sgd(0.1), chosen)
    with pytest.raises(checks.ConfigError) as error:
        optimizer.init(_params())
    assert str(error.value).startswith(f"optimizer.projection.{message}")


def test_a_network_of_output_layers_alone_can_be_projected():
    """If it is asked for: there is a layer to project then."""
    declare = functools.partial(_declare, output_pattern=".")
    chosen = _projection(declare, project_output=True)
    found = projection.projected_layers(_params(), chosen)
    assert [layer.name for layer in found] == ["hidden", "value_hidden", "value_output"]


def test_scale_offset_needs_a_norm_with_parameters():
    params = {name: leaves for name, leaves in _params().items() if "norm" not in name}
    optimizer = projection.project(optax.sgd(0.1), _projection(scale_offset="decay_to_init"))
    with pytest.raises(checks.ConfigError, match="scale_offset = 'decay_to_init': expected 'free'"):
        optimizer.init(params)


def test_a_matrix_that_nobody_declared_is_refused():
    """Otherwise it would stay unprojected without anybody noticing."""
    params = {**_params(), "lstm": {"w_i": _normal(0, 3, 3), "b": _normal(1, 3)}}
    with pytest.raises(checks.ConfigError) as error:
        projection.projected_layers(params, _projection())
    assert str(error.value) == (
        "optimizer.projection: parameter 'w_i' of 'lstm': expected its layer to be declared "
        "(networks/declared.py)"
    )
    lstm = types.DeclaredLayer("lstm", "output", ("w_i",), ("b",))
    found = projection.projected_layers(params, _projection(lambda p: [*_declare(p), lstm]))
    assert [layer.name for layer in found] == ["hidden", "value_hidden"]


def test_a_vector_that_nobody_declared_stays_free():
    params = {**_params(), "shift": {"by": _normal(0, 3)}}
    projected, _ = _run(projection.project(optax.sgd(0.1), _projection()), params, 1)
    plain, _ = _run(optax.sgd(0.1), params, 1)
    np.testing.assert_array_equal(projected["shift"]["by"], plain["shift"]["by"])


def test_rescaling_needs_moments():
    optimizer = projection.project(optax.sgd(0.1), _projection(moments="rescale"))
    with pytest.raises(checks.ConfigError, match="moments = 'rescale': expected 'keep'"):
        optimizer.init(_params())
    with pytest.raises(checks.ConfigError, match="moments = 'rescale': expected 'keep'"):
        projection.weight_projection(_projection(moments="rescale"))


def test_update_without_parameters_is_refused():
    params = _params()
    optimizer = projection.project(optax.sgd(0.1), _projection())
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(params, optimizer.init(params))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("radius", 0),
        ("radius", "large"),
        ("radius", True),
        ("period_updates", 0),
        ("moments", "reset"),
        ("noisy", "both"),
        ("scale_offset", "joint"),
        ("decay_rate", 2.0),
        ("project_output", 1),
    ],
)
def test_bad_values_are_named_with_their_key(key, value):
    with pytest.raises(checks.ConfigError, match=f"^optimizer.projection.{key} = "):
        sections.parse(projection.ProjectionSettings, projection.SECTION, **{key: value})


def test_config_section_gives_the_settings():
    assert not sections.parse(projection.ProjectionSettings, projection.SECTION).enabled
    changes = {"enabled": True, "radius": "sqrt_fan_out", "period_updates": 1000}
    parsed = sections.parse(projection.ProjectionSettings, projection.SECTION, **changes)
    assert parsed == projection.ProjectionSettings(**changes)
    with pytest.raises(checks.ConfigError, match=r"projection\.raduis = 1: unknown key"):
        sections.parse(projection.ProjectionSettings, projection.SECTION, raduis=1)


def test_projected_layers_can_be_found_from_shapes():
    """So the layers are known before any parameter is on the device."""
    shapes = jax.eval_shape(_params)
    found = projection.projected_layers(shapes, _projection(scale_offset="joint_sqrt_d"))
    assert [layer.name for layer in found] == ["hidden", "norm", "value_hidden"]
    assert all(isinstance(layer, layers.Layer) for layer in found)


def test_selected_layers_are_the_projected_ones_but_need_not_fit_the_settings():
    """A free run's norms are recorded whether or not its network could be projected."""
    chosen = _projection(scale_offset="joint_sqrt_d")
    fitting = projection.projected_layers(_params(), chosen)
    assert projection.selected_layers(_params(), chosen) == fitting
    bare = {name: leaves for name, leaves in _params().items() if "norm" not in name}
    selected = projection.selected_layers(bare, chosen)
    assert [layer.name for layer in selected] == ["hidden", "value_hidden"]
