"""Which weights lead into and out of a unit: declared by networks, asked of all of them."""

import dataclasses
import itertools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core import plugins, types
from networks import (
    activations,
    declared,
    implicit_quantiles,
    nonlinearity,
    normalization,
    value_network,
)
from networks.heads import action_values

_SMALL = {
    "cnn": ({"channels": (4, 4)}, (2, 16, 16)),
    "data_efficient": ({}, (4, 44, 44)),
    "hyperspherical": ({"width": 4, "blocks": 2}, (3,)),
    "impala": ({"channels": (3, 4), "blocks": 1}, (2, 8, 8)),
    "mlp": ({"hidden_sizes": (6, 4)}, (3,)),
    "nature": ({}, (4, 44, 44)),
    "transformer": ({"width": 8, "heads": 2, "patch_size": 2}, (2, 4, 6)),
}
_HEADS = {
    "dueling, noisy": (True, True),
    "plain": (False, False),
    "plain, of implicit quantiles": (False, False),
}
_TAUS = np.float32([[0.1, 0.4, 0.9], [0.2, 0.3, 0.7]])


@dataclasses.dataclass
class _Network:
    """A network with its parameters, what it declares, and an input."""

    network: hk.Transformed
    params: dict
    declared: types.DeclaredNetwork
    x: np.ndarray

    def __call__(self, params):
        return np.asarray(self.network.apply(params, jax.random.key(2), self.x, False))


def _make(torso, head="plain", norm="none", kind="relu", **activation):
    changes, shape = _SMALL[torso]
    dueling, noisy = _HEADS[head]
    chosen = plugins.find("networks.torsos", torso, "torso").Settings(**changes)
    section = value_network.Settings(
        torso=chosen,
        norm=normalization.Normalization(norm),
        activation=activations.Settings(kind, **activation),
        head=action_values.Settings(hidden_size=6, dueling=dueling, noisy=noisy),
    )
    network = value_network.make(section, num_actions=3, size=2)
    if head.endswith("implicit quantiles"):
        network = _at_shares(implicit_quantiles.make(section, num_actions=3, latent_size=5))
    random = np.random.RandomState(1)
    x = random.normal(size=(2, *shape)).astype(np.float32)
    if len(shape) == 3:
        x = random.randint(0, 256, (2, *shape)).astype(np.uint8)
    with declared.recording() as found:
        params = network.init(jax.random.key(0), x, False)
    params = jax.tree.map(lambda p: p + 0.1 * random.normal(size=p.shape).astype(p.dtype), params)
    whole = types.DeclaredNetwork(tuple(found.layers), tuple(found.units))
    return _Network(network, params, whole, x)


def _at_shares(network):
    """The network of implicit quantiles at given shares, called as the others are."""
    return hk.Transformed(
        lambda rng, x, noise: network.init(rng, x, _TAUS, noise),
        lambda params, rng, x, noise: network.apply(params, rng, x, _TAUS, noise),
    )


def _without_outgoing(made, units, unit):
    """The parameters with every weight that leaves a unit at 0."""
    params = {module: dict(leaves) for module, leaves in made.params.items()}
    layers = {layer.module: layer for layer in made.declared.layers}
    width = _width(made, units)
    for reader in units.readers:
        for name in layers[reader.module].weights:
            w = params[reader.module][name]
            assert w.shape[-2] == width * reader.positions
            params[reader.module][name] = w.at[..., unit::width, :].set(0)
    return params


def _width(made, units):
    with activations.recording() as seen:
        made(made.params)
    return seen[units.name].post.shape[-1]


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("head", _HEADS)
@pytest.mark.parametrize("torso", plugins.names("networks.torsos"))
def test_a_unit_whose_outgoing_weights_are_zero_is_not_heard(torso, head, norm, monkeypatch):
    """Any unit of any layer may then give anything; otherwise the output changes."""
    made = _make(torso, head, norm)
    assert made.declared.units
    for units in made.declared.units:
        if torso in ("impala", "transformer") and units.name.endswith(("norm_0", "last")):
            assert all("norm" in m for m in units.incoming)  # several layers add up to it
        unit = _audible(made, units)
        silent = _without_outgoing(made, units, unit)
        before, heard_before = made(silent), made(made.params)
        with monkeypatch.context() as patch:
            _perturb(patch, units.name, unit)
            after, heard_after = made(silent), made(made.params)
        np.testing.assert_array_equal(before, after, err_msg=units.name)
        assert (heard_before != heard_after).any(), units.name


def _audible(made, units):
    """The last unit; of embedded shares the one whose other factor is largest, and so not 0."""
    width = _width(made, units)
    if units.name != "tau_embedding":
        return width - 1
    with activations.recording() as seen:
        made(made.params)
    features = list(seen.values())[-3].post.reshape(2, -1)
    if features.shape[-1] != width:  # features on a sphere are no units, and not 0
        return width - 1
    return int(np.argmax(np.abs(features).min(0)))


def _perturb(patch, name, unit):
    activate = activations.activate

    def shifted(x, own_name, chosen):
        post = activate(x, own_name, chosen)
        if own_name != name:
            return post
        noise = jax.random.normal(jax.random.key(5), post.shape[:-1])
        return post.at[..., unit].add(noise)

    patch.setattr(activations, "activate", shifted)


@pytest.mark.parametrize("torso", ["nature", "mlp"])
@pytest.mark.parametrize("head", ["plain", "plain, of implicit quantiles"])
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_incoming_weights_alone_move_a_unit(torso, head, norm):
    """Of its layer the column, of its norm the element; no other unit's pre-activation moves."""
    made = _make(torso, head, norm)
    for units in made.declared.units:
        moved = {module: dict(leaves) for module, leaves in made.params.items()}
        for module in units.incoming:
            for name, leaf in moved[module].items():
                moved[module][name] = leaf.at[..., -1].add(0.5)
        before, after = (_pre(made, params, units.name) for params in (made.params, moved))
        assert (before[..., -1] != after[..., -1]).any()
        if norm == "none":
            np.testing.assert_array_equal(before[..., :-1], after[..., :-1])
        assert units.incoming[0] in {layer.module for layer in made.declared.layers}
        assert len(units.incoming) == (2 if norm == "layer" else 1)


def _pre(made, params, name):
    with activations.recording() as seen:
        made(params)
        return np.asarray(seen[name].pre)


@pytest.mark.parametrize("torso", ["nature", "mlp"])
def test_a_product_s_reader_reads_the_units_of_both_factors(torso):
    """The torso's at all their positions, and those of the embedded shares."""
    made = _make(torso, "plain, of implicit quantiles")
    units = {units.name: units for units in made.declared.units}
    size = made.params["action_hidden"]["w"].shape[0]
    last, embedded = list(units)[-3:-1]
    assert embedded == "tau_embedding"
    assert units[embedded].readers == (types.Reader("action_hidden", 1),)
    positions = size // _width(made, units[last])
    assert units[last].readers == (types.Reader("action_hidden", positions),)
    assert (positions > 1) == (torso == "nature")


@pytest.mark.parametrize(
    ("kind", "width"), list(itertools.product(["crelu", "fourier"], ["output", "input"]))
)
def test_embedded_shares_are_as_many_as_features(kind, width):
    """Also where the torso gives twice as many: else they could not be multiplied."""
    made = _make("mlp", "plain, of implicit quantiles", kind=kind, width=width)
    with activations.recording() as seen:
        assert made(made.params).shape == (2, 3, 3)
    sizes = {name: units.post.shape[-1] for name, units in seen.items()}
    assert sizes["tau_embedding"] == sizes["torso/linear_1"] == (4 if width == "output" else 8)
    assert seen["tau_embedding"].pre.shape == (2, 3, sizes["tau_embedding"] // 2)


@pytest.mark.parametrize(
    ("kind", "width"), list(itertools.product(["crelu", "fourier"], ["output", "input"]))
)
def test_two_features_of_a_unit(kind, width):
    """output: half as many units and as many features; input: as many units, twice the features."""
    made, plain = (_make("mlp", kind=k, **w) for k, w in ((kind, {"width": width}), ("relu", {})))
    with activations.recording() as seen:
        made(made.params)
    for units in made.declared.units:
        pre, post = seen[units.name]
        assert post.shape[-1] == 2 * pre.shape[-1]
    plain_width = plain.params["torso/linear_0"]["w"].shape[-1]
    found_width = made.params["torso/linear_0"]["w"].shape[-1]
    assert found_width == (plain_width // 2 if width == "output" else plain_width)


def test_nonlinearities_by_hand():
    x = jnp.array([[-2.0, 0.0, 3.0]])
    found = {kind: activations.Settings(kind)(x) for kind in ("relu", "leaky_relu", "crelu")}
    np.testing.assert_array_equal(found["relu"], [[0, 0, 3]])
    np.testing.assert_allclose(found["leaky_relu"], [[-0.02, 0, 3]])
    np.testing.assert_array_equal(found["crelu"], [[0, 0, 3, 2, 0, 0]])
    fourier = activations.Settings("fourier")(x)
    np.testing.assert_allclose(fourier, np.concatenate([np.sin(x), np.cos(x)], -1), rtol=1e-6)
    # Never both 0 but for x = 0.
    halves = found["crelu"].reshape(2, 3)
    np.testing.assert_array_equal((halves == 0).all(0), x[0] == 0)


def test_an_odd_width_can_t_be_halved():
    with pytest.raises(ValueError, match=r"'crelu': expected layers of an even width .*found 5"):
        activations.Settings("crelu").units(5)


def test_a_norm_may_stand_after_the_nonlinearity():
    """A ReLU that is off then gets no gradient; before it, it gets one through the statistics."""
    x = jnp.array([[3.0, 1.0, -1.0, -3.0]])
    gradients = {}
    for position in ("pre", "post"):
        norm = normalization.Normalization("layer", position=position, affine=False)
        module = nonlinearity.Nonlinearity(norm)
        network = hk.without_apply_rng(hk.transform(lambda x, m=module: m(x, "a", "norm")))
        apply = lambda x, n=network: n.apply({}, x)  # noqa: E731
        weights = jnp.array([[1.0, 1.0, 0.0, 0.0]])
        gradients[position] = jax.grad(lambda x, f=apply, w=weights: jnp.sum(f(x) * w))(x)
    expected = [-0.044721, 0.134164, -0.134164, 0.044721]
    np.testing.assert_allclose(gradients["pre"][0], expected, atol=1e-5)
    np.testing.assert_array_equal(gradients["post"][0, 2:], [0, 0])
