"""The identities behind Normalize-and-Project, in float64 and through the project's own code.

The network is the one for which they are exact: linear layers without bias, LayerNorm with
epsilon 0, ReLU, and an output layer that is neither normalized nor projected.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plasticity import identities, layers, norm_growth, projection
from plasticity.metrics import layer_metrics

_FREE_SCALES = identities.FREE_SCALES
_JOINT_SCALES = dataclasses.replace(
    _FREE_SCALES, settings=dataclasses.replace(_FREE_SCALES.settings, scale_offset="joint_sqrt_d")
)
_UPDATES = identities.UPDATES
_OPTIMIZERS = identities.OPTIMIZERS
_PROBLEM = identities.Problem(seed=0)
_keep = identities.keeping_moments
_apply, _inputs, _params, _train = (
    identities.apply,
    _PROBLEM.inputs,
    _PROBLEM.params,
    _PROBLEM.train,
)


@pytest.fixture(autouse=True)
def _float64():
    with identities.float64():
        yield


_gradient = jax.jit(jax.grad(_PROBLEM.loss))


def _scaled(params, module, factor):
    return {**params, module: jax.tree.map(lambda x: factor * x, params[module])}


def _relative_difference(x, y):
    return float(jnp.max(jnp.abs(x - y)) / jnp.max(jnp.abs(y)))


def _record(path, norms):
    """Writes norms [T] by layer to a file, one row per update, and reads it."""
    for t in range(_UPDATES):
        norm_growth.append_row(str(path), t, {name: norm[t] for name, norm in norms.items()})
    return norm_growth.RecordedNorms.load(str(path))


def test_projection_does_not_change_the_function():
    """Hidden layers of any scale give the same outputs once they are back on their spheres."""
    params = _params()
    radii = projection.initial_radii(params, _FREE_SCALES)
    grown = _scaled(_scaled(params, "hidden_0", 3.7), "hidden_1", 0.2)
    projected = projection.project_params(grown, radii, _FREE_SCALES)
    outputs = [_apply(p, _inputs()) for p in (grown, projected)]
    assert _relative_difference(*outputs) < 1e-10
    groups = projection.projected_layers(params, _FREE_SCALES)
    norms = layer_metrics.layer_norms(projected, groups)
    np.testing.assert_allclose(norms["hidden_0"], radii["hidden_0"], rtol=1e-12)
    np.testing.assert_allclose(norms["hidden_1"], radii["hidden_1"], rtol=1e-12)
    assert float(norms["hidden_0"]) < 0.3 * float(
        layer_metrics.layer_norms(grown, groups)["hidden_0"]
    )


def test_the_output_layer_is_not_scale_invariant():
    """Why the output layer stays free: its scale changes the outputs."""
    params = _params()
    outputs = [_apply(p, _inputs()) for p in (_scaled(params, "output", 2.0), params)]
    assert _relative_difference(*outputs) > 0.5


@pytest.mark.parametrize("layer", ["hidden_0", "hidden_1"])
def test_gradient_is_orthogonal_and_shrinks_with_scale(layer):
    """<w, grad f(w)> = 0 and grad f(c w) = grad f(w) / c; the other layers' stay the same."""
    params, factor = _params(), 3.7
    gradient = _gradient(params)
    scaled_gradient = _gradient(_scaled(params, layer, factor))
    w, g = params[layer]["w"], gradient[layer]["w"]
    assert abs(float(jnp.sum(w * g))) < 1e-12
    assert float(jnp.linalg.norm(g)) > 1e-3
    expected = _scaled(gradient, layer, 1 / factor)
    differences = jax.tree.map(_relative_difference, scaled_gradient, expected)
    assert max(jax.tree.leaves(differences)) < 1e-10


def test_norms_grow_exactly_under_sgd():
    """||W(t)||^2 = ||W(0)||^2 + lr^2 * (sum of squared gradient norms before t)."""
    learning_rate = 0.5
    _, norms, gradient_norms = _train(optax.sgd(learning_rate), _FREE_SCALES)
    for name, norm in norms.items():
        growth = learning_rate**2 * jnp.cumsum(jnp.square(gradient_norms[name]))[:-1]
        np.testing.assert_allclose(norm[1:] ** 2, norm[0] ** 2 + growth, rtol=1e-10)
        assert norm[-1] > 1.2 * norm[0]


@pytest.mark.parametrize("chosen", [_FREE_SCALES, _JOINT_SCALES])
def test_norms_are_constant_under_projection(chosen):
    """Every projected layer's norm stays its radius, scales and offsets included when joint."""
    params = _params()
    radii = projection.initial_radii(params, chosen)
    start = projection.project_params(params, radii, chosen)
    _, norms, _ = _train(projection.project(optax.adam(0.01), chosen), chosen, start)
    for name, norm in norms.items():
        np.testing.assert_allclose(norm, radii[name], rtol=1e-12)
    assert ("norm_0" in norms) == (chosen.settings.scale_offset == "joint_sqrt_d")


@functools.cache
def _free_run(name):
    """Losses [T] and norms [T] by layer of an unprojected run, computed once for all tests."""
    losses, norms, _ = identities.free(_PROBLEM, name)
    return np.asarray(losses), {layer: np.asarray(norm) for layer, norm in norms.items()}


def _max_difference(losses_a, losses_b):
    return float(jnp.max(jnp.abs(losses_a - losses_b)))


@pytest.mark.parametrize("name", list(_OPTIMIZERS))
def test_free_run_equals_projected_run_with_layer_wise_decay(name, tmp_path):
    """The free run's losses come back to 1e-10 over 400 updates; W differs, direction doesn't."""
    chosen = _keep(_FREE_SCALES) if name == "sgd" else _FREE_SCALES
    losses, norms = _free_run(name)
    recorded = _record(tmp_path / "norms.csv", norms)
    replayed_losses, replayed_norms, _ = _train(identities.replay(name, recorded, chosen), chosen)
    assert _max_difference(losses, replayed_losses) < 1e-10
    assert losses[-1] < 0.5 * losses[0]
    assert all(norm[-1] > 1.2 * norm[0] for norm in norms.values())
    assert all(_max_difference(norm, norm[0]) < 1e-10 for norm in replayed_norms.values())


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_joint_scale_and_offset_run_equals_free_run_too(name, tmp_path):
    """An inner norm's scale and offset are one more layer with a sphere and a decay of its own."""
    chosen = _keep(_JOINT_SCALES) if name == "sgd" else _JOINT_SCALES
    params = _params()
    radii = projection.initial_radii(params, chosen)
    start = projection.project_params(params, radii, chosen)
    losses, norms, _ = _train(_OPTIMIZERS[name][0](), chosen, start)
    recorded = _record(tmp_path / "norms.csv", norms)
    assert "norm_0" in recorded.names
    replayed_losses, _, _ = _train(identities.replay(name, recorded, chosen), chosen, start)
    assert _max_difference(losses, replayed_losses) < 1e-10


def test_other_decays_are_not_the_free_run(tmp_path):
    """Under SGD one global factor comes near the free run, and a constant rate less near."""
    chosen = _keep(_FREE_SCALES)
    losses, norms = _free_run("sgd")
    recorded = _record(tmp_path / "norms.csv", norms)
    global_losses, _, _ = _train(identities.replay("sgd", recorded, chosen, False), chosen)
    constant = projection.project(_OPTIMIZERS["sgd"][0](), chosen)
    constant_losses, _, _ = _train(constant, chosen)
    assert _max_difference(losses, global_losses) > 1e-2
    assert _max_difference(losses, constant_losses) > _max_difference(losses, global_losses)


def test_adam_needs_its_moments_rescaled(tmp_path):
    """With the right decay but moments kept, and with any other decay, the losses differ."""
    losses, norms = _free_run("adam")
    recorded = _record(tmp_path / "norms.csv", norms)
    keep = _keep(_FREE_SCALES)
    variants = {
        "layer-wise, moments kept": (identities.replay("adam", recorded, keep), keep),
        "global": (identities.replay("adam", recorded, _FREE_SCALES, False), _FREE_SCALES),
        "constant": (projection.project(_OPTIMIZERS["adam"][0](), keep), keep),
    }
    for optimizer, chosen in variants.values():
        variant_losses, _, _ = _train(optimizer, chosen)
        assert _max_difference(losses, variant_losses) > 1e-3


def test_joint_scale_and_offset_is_an_invariance_of_inner_norms_only():
    """The next layer's norm cancels c in c * (scale, offset); after the last norm nothing does."""
    params = _params()
    outputs = _apply(params, _inputs())
    inner = _apply(_scaled(params, "norm_0", 3.7), _inputs())
    last = _apply(_scaled(params, "norm_1", 3.7), _inputs())
    assert _relative_difference(inner, outputs) < 1e-10
    assert _relative_difference(last, outputs) > 0.5
    radii = projection.initial_radii(params, _JOINT_SCALES)
    projected = projection.project_params(params, radii, _JOINT_SCALES)
    assert float(radii["norm_0"]) == pytest.approx(24**0.5)
    assert not np.allclose(projected["norm_0"]["scale"], params["norm_0"]["scale"])
    assert _relative_difference(_apply(projected, _inputs()), outputs) < 1e-10


def _noisy_forward(params, x):
    """A noisy layer with biases (fixed noise), LayerNorm, ReLU, output layer."""
    random = np.random.RandomState(3)
    noise_in, noise_out = random.normal(size=(1, 10)), random.normal(size=(1, 24))
    p = params["hidden"]
    x = x @ p["mu_w"] + ((x * noise_in) @ p["sigma_w"]) * noise_out
    x = x + p["mu_b"][None] + p["sigma_b"][None] * noise_out
    x = (x - jnp.mean(x, -1, keepdims=True)) / jnp.std(x, -1, keepdims=True)
    return jax.nn.relu(x) @ params["output"]["mu_w"]


def _noisy_params():
    random = np.random.RandomState(4)
    shapes = {"mu_w": (10, 24), "sigma_w": (10, 24), "mu_b": (24,), "sigma_b": (24,)}
    hidden = {name: jnp.asarray(random.normal(size=shape)) for name, shape in shapes.items()}
    return {"hidden": hidden, "output": {"mu_w": jnp.asarray(random.normal(size=(24, 3)))}}


def _grown_noise_params():
    """The noisy parameters after mu has grown by more than sigma has."""
    params = _noisy_params()
    factors = {"mu_w": 2.0, "mu_b": 2.0, "sigma_w": 1.3, "sigma_b": 1.3}
    hidden = {name: factors[name] * value for name, value in params["hidden"].items()}
    return {**params, "hidden": hidden}


@pytest.mark.parametrize(
    ("noisy", "is_invariant"), [("joint", True), ("separate", False), ("mu_only", False)]
)
def test_noisy_layer_is_invariant_to_a_common_factor_only(noisy, is_invariant):
    """A norm behind a noisy layer cancels one factor of mu, sigma and both biases together."""
    settings = projection.ProjectionSettings(enabled=True, noisy=noisy, scale_offset="free")
    chosen = projection.Projection(settings, layers.by_name)
    radii = projection.initial_radii(_noisy_params(), chosen)
    grown = _grown_noise_params()
    projected = projection.project_params(grown, radii, chosen)
    outputs = [_noisy_forward(p, _inputs()) for p in (projected, grown)]
    difference = _relative_difference(*outputs)
    assert difference < 1e-10 if is_invariant else difference > 1e-2
    assert not np.allclose(projected["hidden"]["mu_w"], grown["hidden"]["mu_w"])
