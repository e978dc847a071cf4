"""Torsos, and the whole Rainbow network: shapes, names and numbers of parameters, normalization."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core import checks
from networks import activations, declared, nonlinearity, normalization, value_network
from networks.torsos import (
    cnn,
    data_efficient,
    hyperspherical,
    impala,
    mlp,
    nature,
    transformer,
)
from plasticity import layers as layers_lib
from plasticity import projection
from tests.core import sections

NUM_ATOMS = 51


def make_torso(module, norm=None, **changes):
    """The torso of the section with these changes."""
    nonlinear = nonlinearity.Nonlinearity(norm or normalization.Normalization())
    chosen = module.Settings(**changes)
    return hk.without_apply_rng(hk.transform(lambda x: module.make(chosen, nonlinear)(x)))


def shapes_of(network, x):
    """{module/parameter: shape} without computing anything."""
    params = jax.eval_shape(network.init, jax.random.key(0), x)
    return {
        f"{module}/{name}": value.shape
        for module, leaves in params.items()
        for name, value in leaves.items()
    }


def features_of(network, x):
    """The shape and type of the features."""
    params = jax.eval_shape(network.init, jax.random.key(0), x)
    features = jax.eval_shape(network.apply, params, x)
    return features.shape, features.dtype


def frames(size=84, stack=4, batch=2):
    return jax.ShapeDtypeStruct((batch, stack, size, size), jnp.uint8)


def count(shapes):
    return sum(int(np.prod(shape)) for shape in shapes.values())


@pytest.mark.parametrize("formulation", ["matmul", "lax"])
def test_nature_gives_seven_by_seven_by_64_features(formulation):
    torso = make_torso(nature, formulation=formulation)
    assert features_of(torso, frames()) == ((2, 7 * 7 * 64), jnp.float32)
    assert shapes_of(torso, frames()) == {
        "torso/conv_0/w": (8, 8, 4, 32),
        "torso/conv_0/b": (32,),
        "torso/conv_1/w": (4, 4, 32, 64),
        "torso/conv_1/b": (64,),
        "torso/conv_2/w": (3, 3, 64, 64),
        "torso/conv_2/b": (64,),
    }


def test_data_efficient_gives_three_by_three_by_64_features():
    torso = make_torso(data_efficient)
    assert features_of(torso, frames()) == ((2, 576), jnp.float32)
    shapes = shapes_of(torso, frames())
    assert shapes["torso/conv_0/w"] == (5, 5, 4, 32)
    assert shapes["torso/conv_1/w"] == (5, 5, 32, 64)


def test_impala_gives_eleven_by_eleven_features():
    """84 halves three times, rounded up, to 42, 21, 11; fifteen convolutions."""
    torso = make_torso(impala)
    assert features_of(torso, frames()) == ((2, 11 * 11 * 32), jnp.float32)
    shapes = shapes_of(torso, frames())
    assert shapes["torso/section_0_conv/w"] == (3, 3, 4, 16)
    assert shapes["torso/section_1_conv/w"] == (3, 3, 16, 32)
    assert shapes["torso/section_1_block_1_conv_0/w"] == (3, 3, 32, 32)
    kernels = [9 * 4 * 16, *[9 * 16 * 16] * 4, 9 * 16 * 32, *[9 * 32 * 32] * 9]
    biases = [16] * 5 + [32] * 10
    assert count(shapes) == sum(kernels) + sum(biases)


def test_impala_s_last_maps_are_pooled_to_windows_that_cover_them():
    """Of 5 positions 3 windows: 0 and 1, 1 to 3, 3 and 4; the largest of 9 is at 4."""
    x = jnp.arange(2 * 5 * 5 * 1.0).reshape(2, 5, 5, 1)
    found = impala._pool_to(3, x)[..., 0]
    np.testing.assert_array_equal(found[0], [[6, 8, 9], [16, 18, 19], [21, 23, 24]])
    torso = make_torso(impala, pooled_size=6)
    assert features_of(torso, frames())[0] == (2, 6 * 6 * 32)
    with pytest.raises(checks.ConfigError, match=r"pooled_size = 12: expected at most .* 11"):
        features_of(make_torso(impala, pooled_size=12), frames())


def test_impala_can_be_widened():
    torso = make_torso(impala, width_multiplier=2)
    assert features_of(torso, frames())[0] == (2, 11 * 11 * 64)


def test_mlp_flattens_its_observation():
    torso = make_torso(mlp, hidden_sizes=(7, 5))
    x = jax.ShapeDtypeStruct((2, 3, 4), jnp.int32)
    assert features_of(torso, x) == ((2, 5), jnp.float32)
    assert shapes_of(torso, x) == {
        "torso/linear_0/w": (12, 7),
        "torso/linear_0/b": (7,),
        "torso/linear_1/w": (7, 5),
        "torso/linear_1/b": (5,),
    }


@pytest.mark.parametrize("blocks", [1, 3])
def test_features_and_weights_of_the_hyperspherical_torso_have_norm_1(blocks):
    torso = make_torso(hyperspherical, width=6, blocks=blocks)
    x = np.random.RandomState(3).normal(size=(4, 5)).astype(np.float32)
    params = torso.init(jax.random.key(0), x)
    features = torso.apply(params, x)
    np.testing.assert_allclose(np.linalg.norm(features, axis=-1), np.ones(4), rtol=1e-5)
    layers = [leaves["w"] for leaves in params.values() if "w" in leaves]
    assert len(layers) == 1 + 2 * blocks
    for w in layers:
        np.testing.assert_allclose(np.linalg.norm(w, axis=0), np.ones(w.shape[1]), rtol=1e-5)


def test_the_hyperspherical_torso_by_hand():
    """One block: x <- norm(x + (norm(W2 relu(sqrt(2) W1 x)) - x) / 2), in NumPy."""
    torso = make_torso(hyperspherical, width=6, blocks=1, shift=3.0)
    x = np.random.RandomState(3).normal(size=(4, 5)).astype(np.float32)
    params = torso.init(jax.random.key(0), x)
    w = {name: np.asarray(leaves["w"]) for name, leaves in params.items() if "w" in leaves}
    on_sphere = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    y = on_sphere(np.concatenate([x, np.full((4, 1), 3.0)], -1))
    y = on_sphere(2**0.5 * y @ w["torso/input"])
    block = np.maximum(2**0.5 * y @ w["torso/block_0_hidden"], 0) @ w["torso/block_0_output"]
    expected = on_sphere(y + (on_sphere(block) - y) / 2)
    np.testing.assert_allclose(torso.apply(params, x), expected, atol=1e-5)


def rainbow_network(norm=None):
    """Rainbow's network with its defaults, for 6 actions."""
    settings = value_network.Settings(norm=norm or normalization.Normalization())
    network = value_network.make(settings, 6, NUM_ATOMS)
    return hk.Transformed(lambda rng, x: network.init(rng, x, False), network.apply)


def rainbow_shapes(norm=None):
    return shapes_of(rainbow_network(norm), frames())


def test_rainbow_has_the_parameters_of_dqn_zoo():
    """Counted by hand for 84x84x4 and 6 actions, 51 atoms.

    Torso: 8224 + 32 832 + 36 928. Each noisy layer of 3136 x 512 has two weights and two biases:
    2 (3136 * 512 + 512) = 3 212 288. The outputs have two weights but a bias for sigma alone:
    2 * 512 * 51 + 51 = 52 275 and 2 * 512 * 306 + 306 = 313 650. Together 6 868 485.
    """
    shapes = rainbow_shapes()
    for stream, outputs in (("value", 51), ("advantage", 6 * 51)):
        hidden = {name: shapes.pop(f"{stream}_hidden/{name}") for name in _NOISY}
        assert hidden == {
            "mu_w": (3136, 512),
            "sigma_w": (3136, 512),
            "mu_b": (512,),
            "sigma_b": (512,),
        }
        assert shapes.pop(f"{stream}_output/mu_w") == (512, outputs)
        assert shapes.pop(f"{stream}_output/sigma_w") == (512, outputs)
        assert shapes.pop(f"{stream}_output/sigma_b") == (outputs,)
    assert count(shapes) == 8224 + 32_832 + 36_928
    assert all(name.startswith("torso/conv_") for name in shapes)
    assert count(rainbow_shapes()) == 6_868_485


_NOISY = ("mu_w", "sigma_w", "mu_b", "sigma_b")


def test_with_layer_norm_scales_and_offsets_replace_the_biases():
    """Per channel before each ReLU: 32 + 64 + 64 in the torso, 512 in each stream, twice.

    The biases of the three convolutions and of the two hidden layers go; outputs stay.
    """
    plain, normalized = rainbow_shapes(), rainbow_shapes(normalization.Normalization("layer"))
    gone = {name for name in plain if name not in normalized}
    new = {name: shape for name, shape in normalized.items() if name not in plain}
    hidden = {f"{stream}_hidden/{b}" for stream in ("value", "advantage") for b in _NOISY[2:]}
    assert gone == {f"torso/conv_{i}/b" for i in range(3)} | hidden
    norms = {"torso/norm_0": 32, "torso/norm_1": 64, "torso/norm_2": 64}
    norms |= {"value_norm": 512, "advantage_norm": 512}
    assert new == {f"{n}/{p}": (size,) for n, size in norms.items() for p in ("scale", "offset")}


def random_params(network, x, seed=0):
    """Parameters of a network whose outputs are neither zero nor saturated."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)
    random = np.random.RandomState(seed)

    def draw(shape):
        fan_in = max(1, np.prod(shape.shape[:-1]))
        return jnp.asarray(random.normal(size=shape.shape) / fan_in**0.5, jnp.float32)

    return jax.tree.map(draw, shapes)


@pytest.mark.parametrize(
    ("module", "changes"),
    [
        (nature, {}),
        (data_efficient, {}),
        (impala, {"channels": (8, 8), "blocks": 1}),
        (mlp, {"hidden_sizes": (16, 8)}),
        (cnn, {"channels": (8, 8)}),
        (transformer, {"width": 16}),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value.__name__,
)
def test_each_layer_that_drops_its_bias_is_scale_invariant(module, changes):
    """So a norm, and nothing else before it, follows just those layers (float32)."""
    torso = make_torso(module, normalization.Normalization("layer", epsilon=1e-12), **changes)
    x = np.random.RandomState(1).randint(0, 256, (3, 2, 40, 40)).astype(np.uint8)
    params = random_params(torso, x)
    apply = jax.jit(torso.apply)
    before = np.asarray(apply(params, x))
    assert before.std() > 0.1
    layers = [name for name, leaves in params.items() if set(leaves) == {"w"}]
    assert layers
    for layer in layers:
        scaled = {**params, layer: {"w": 3.0 * params[layer]["w"]}}
        np.testing.assert_allclose(apply(scaled, x), before, atol=2e-4 * before.std())


def test_impala_adds_what_its_blocks_make():
    """With kernels and biases of 0 in a block, the block passes its input on."""
    torso = make_torso(impala, channels=(4,), blocks=2)
    x = np.random.RandomState(2).randint(0, 256, (2, 3, 8, 8)).astype(np.uint8)
    params = random_params(torso, x)
    silent = jax.tree.map(jnp.zeros_like, params)
    section = "torso/section_0_conv"
    kept = {**silent, section: params[section]}
    y = jax.lax.conv_general_dilated(
        np.moveaxis(x, 1, -1).astype(np.float32) / 255,
        params[section]["w"],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    y = np.pad(
        np.asarray(y) + np.asarray(params[section]["b"]), ((0, 0), (0, 1), (0, 1), (0, 0)), "edge"
    )
    windows = np.lib.stride_tricks.sliding_window_view(y, (3, 3), axis=(1, 2))[:, ::2, ::2]
    pooled = np.maximum(windows.max((-2, -1)), 0)
    np.testing.assert_allclose(torso.apply(kept, x), pooled.reshape(2, -1), atol=1e-5)
    assert not np.allclose(torso.apply(params, x), pooled.reshape(2, -1), atol=0.1)


@pytest.mark.parametrize(
    ("module", "changes", "message"),
    [
        (nature, {"formulation": "fft"}, "formulation = 'fft'"),
        (impala, {"blocks": 0}, "blocks = 0"),
        (mlp, {"hidden_sizes": (3, 0)}, "hidden_sizes = "),
        (mlp, {"hidden_sizes": (3,), "depth": 2}, "depth = 2: unknown key"),
        (
            transformer,
            {"width": 12, "heads": 8},
            "width = 12: expected a multiple of 4 and of heads",
        ),
    ],
)
def test_bad_settings_are_refused(module, changes, message):
    with pytest.raises(checks.ConfigError, match=rf"^network\.torso\.{message}"):
        sections.parse(module.Settings, "network.torso", **changes)


# A torso, changes of its section, and the smallest pictures that it takes.
_CONVOLUTIONS = {
    "nature": (nature, {}, 36),
    "data_efficient": (data_efficient, {"formulation": "lax"}, 25),
    "impala": (impala, {}, 1),
    "cnn": (cnn, {}, 10),
    "transformer": (transformer, {}, 4),
}


@pytest.mark.parametrize("name", _CONVOLUTIONS)
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((4, 96, 96, 3), jnp.uint8),  # stacks of colour pictures
        ((84, 84), jnp.uint8),  # no stacks
        ((4, 84, 84), jnp.float32),
        ((4, 3), jnp.float32),
        ((3,), jnp.float32),
        ((), jnp.float32),
    ],
)
def test_observations_that_convolutions_cannot_see(name, shape, dtype):
    module, changes, smallest = _CONVOLUTIONS[name]
    expected = f"module = '{name}': expected .* at least {smallest}, found {np.dtype(dtype)}"
    with pytest.raises(checks.ConfigError, match=expected):
        shapes_of(make_torso(module, **changes), jax.ShapeDtypeStruct((2, *shape), dtype))


@pytest.mark.parametrize("name", _CONVOLUTIONS)
def test_smallest_pictures(name):
    module, changes, smallest = _CONVOLUTIONS[name]
    assert shapes_of(make_torso(module, **changes), frames(size=smallest))
    if smallest > 1:
        with pytest.raises(checks.ConfigError, match="H and W at least"):
            shapes_of(make_torso(module, **changes), frames(size=smallest - 1))


def test_patches_cover_the_pictures():
    with pytest.raises(checks.ConfigError, match="patch_size = 5: expected a divisor of the pict"):
        shapes_of(make_torso(transformer, patch_size=5), frames(size=8))


def test_attention_and_hidden_units_of_a_transformer_by_hand():
    """A block of it, in NumPy."""
    torso = make_torso(
        transformer, normalization.Normalization("layer"), width=4, blocks=1, heads=2, patch_size=2
    )
    x = np.random.RandomState(3).randint(0, 256, (2, 1, 4, 4)).astype(np.uint8)
    params = jax.tree.map(np.asarray, random_params(torso, x))
    p = lambda name: params[f"torso/{name}"]  # noqa: E731

    def norm(x, name):
        leaves = p(name)
        y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return y * leaves["scale"] + leaves["offset"]

    def dense(x, name):
        return x @ p(name)["w"] + p(name).get("b", 0)

    corners = [x[:, 0, i : i + 2, j : j + 2].reshape(2, 1, 4) for i in (0, 2) for j in (0, 2)]
    tokens = norm(
        dense(np.concatenate(corners, 1) / np.float32(255), "embedding"), "embedding_norm"
    )
    places = [(i, j) for i in (0, 1) for j in (0, 1)]
    tokens = tokens + np.float32([(np.sin(i), np.cos(i), np.sin(j), np.cos(j)) for i, j in places])
    y = norm(tokens, "block_0_attention_norm")
    q, k, v = (
        dense(y, f"block_0_{part}").reshape(2, 4, 2, 2) for part in ("query", "key", "value")
    )
    q, k = norm(q, "block_0_query_norm"), norm(k, "block_0_key_norm")
    found = np.zeros((2, 4, 2, 2), np.float32)
    for b, head, i in np.ndindex(2, 2, 4):
        scores = np.exp([q[b, i, head] @ k[b, j, head] / 2**0.5 for j in range(4)])
        found[b, i, head] = sum(s * v[b, j, head] for j, s in enumerate(scores / scores.sum()))
    tokens = tokens + dense(found.reshape(2, 4, 4), "block_0_output")
    hidden = np.maximum(norm(dense(tokens, "block_0_hidden"), "block_0_hidden_norm"), 0)
    tokens = tokens + dense(hidden, "block_0_mixed")
    expected = np.maximum(norm(tokens, "last_norm"), 0).mean(1)
    np.testing.assert_allclose(torso.apply(params, x), expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(), (3,), (4, 3), (2, 3, 4)])
def test_perceptron_flattens_whatever_it_sees(shape):
    torso = make_torso(mlp, hidden_sizes=(7,))
    assert features_of(torso, jax.ShapeDtypeStruct((2, *shape), jnp.float32))[0] == (2, 7)


@pytest.mark.parametrize(
    ("module", "changes", "shape"),
    [
        (nature, {}, (4, 84, 84)),
        (data_efficient, {}, (4, 84, 84)),
        (impala, {"channels": (4, 8), "blocks": 1}, (2, 8, 8)),
        (mlp, {"hidden_sizes": (6, 5)}, (3,)),
        (hyperspherical, {"width": 5}, (3,)),
        (cnn, {}, (1, 28, 28)),
        (transformer, {"width": 8}, (1, 8, 8)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("kind", ["none", "layer", "rms"])
def test_a_torso_declares_every_parameter(module, changes, shape, kind):
    """Its layers are hidden ones, but for those that add to a residual stream."""
    torso = make_torso(module, normalization.Normalization(kind), **changes)
    dtype = np.uint8 if len(shape) == 3 else np.float32
    with declared.recording() as found:
        params = jax.eval_shape(
            torso.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), dtype)
        )
    sorted_layers = layers_lib.find_layers(params, lambda _: found.layers)
    kinds = {layer.kind for layer in sorted_layers}
    free = {"free_norm"} if module is hyperspherical else set()
    norms = {"norm", "free_norm"} if module in (impala, transformer) else {"norm"}
    free |= {"free"} if module in (impala, transformer) else set()
    assert kinds == {"hidden"} | free | (set() if kind == "none" else norms)
    assert (
        {layer.name for layer in sorted_layers} == set(params) == {x.module for x in found.layers}
    )


def test_projected_is_what_a_norm_follows():
    """Three times its weights do not change the output; of what adds to a stream they do."""
    expected = {
        impala: {"section_0_conv", "section_0_block_0_conv_1"},
        transformer: {f"block_{i}_{part}" for i in (0, 1) for part in ("value", "output", "mixed")},
    }
    for module, changes in (
        (impala, {"channels": (4,), "blocks": 1}),
        (transformer, {"width": 8, "blocks": 2}),
    ):
        torso = make_torso(module, normalization.Normalization("layer"), **changes)
        with declared.recording() as found:
            jax.eval_shape(
                torso.init,
                jax.random.key(0),
                jax.ShapeDtypeStruct((1, 1, 8, 8), np.uint8),
            )
        chosen = projection.Projection(
            projection.ProjectionSettings(enabled=True), lambda _, layers=found.layers: layers
        )
        x = np.random.RandomState(0).randint(0, 256, (2, 1, 8, 8)).astype(np.uint8)
        params = random_params(torso, x)
        weighted = {layer.module for layer in found.layers if "norm" not in layer.kind}
        projected = {layer.name for layer in projection.selected_layers(params, chosen)}
        assert weighted - projected == {f"torso/{name}" for name in expected[module]}
        before = torso.apply(params, x)
        for name in weighted:
            larger = {**params, name: {**params[name], "w": 3 * params[name]["w"]}}
            change = np.max(np.abs(torso.apply(larger, x) - before))
            assert (change < 1e-3) == (name in projected), name


def test_units_of_a_torso_are_seen_at_every_nonlinearity():
    torso = make_torso(nature)
    x = np.random.RandomState(5).randint(0, 256, (2, 4, 84, 84)).astype(np.uint8)
    params = random_params(torso, x)
    with activations.recording() as found:
        features = torso.apply(params, x)
    assert list(found) == ["torso/conv_0", "torso/conv_1", "torso/conv_2"]
    shapes = [units.pre.shape for units in found.values()]
    assert shapes == [(2, 20, 20, 32), (2, 9, 9, 64), (2, 7, 7, 64)]
    for units in found.values():
        np.testing.assert_array_equal(units.post, np.maximum(units.pre, 0))
    np.testing.assert_array_equal(found["torso/conv_2"].post.reshape(2, -1), features)


def test_impala_s_nonlinearities_have_names_of_their_own():
    """Two to a block, and the last."""
    torso = make_torso(impala, channels=(4, 4), blocks=2)
    x = np.zeros((1, 2, 8, 8), np.uint8)
    params = random_params(torso, x)
    with activations.recording() as found:
        torso.apply(params, x)
    assert len(found) == 2 * 2 * 2 + 1


def test_outside_of_a_recording_nothing_is_kept():
    """Also of one that ended with an error, and within another one."""
    torso = make_torso(mlp, hidden_sizes=(3,))
    x = np.zeros((1, 2), np.float32)

    def interrupted():
        with declared.recording():
            torso.init(jax.random.key(0), x)
            raise ZeroDivisionError

    with declared.recording() as outer:
        with pytest.raises(ZeroDivisionError):
            interrupted()
        assert not outer.layers
        torso.init(jax.random.key(0), x)
        torso.init(jax.random.key(0), x)
    assert len(outer.layers) == len(outer.units) == 1
    torso.init(jax.random.key(0), x)
    assert len(outer.layers) == len(outer.units) == 1
