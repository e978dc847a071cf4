"""The head of value-based agents, and C51's distributions: q-values, dueling streams, noise."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core import checks
from networks import activations, declared, nonlinearity, normalization
from networks.heads import action_values, c51
from tests.core import sections

ATOMS = np.float32([-1, 0, 2])


def make_head(norm=None, num_actions=4, **changes):
    """(features, noise per row) -> distributions over three atoms."""
    section = {"hidden_size": 6, "noisy": False, "noisy_sigma": 0.5, **changes}
    head = action_values.ActionValueHead(
        action_values.Settings(**section),
        num_actions,
        len(ATOMS),
        nonlinearity.Nonlinearity(norm or normalization.Normalization()),
    )

    def forward(x, per_sample=False):
        return c51.distribution(head(x, per_sample), jnp.asarray(ATOMS))

    return hk.transform(forward)


def features(batch=3):
    return np.random.RandomState(0).normal(size=(batch, 5)).astype(np.float32)


def random_params(head):
    shapes = jax.eval_shape(head.init, jax.random.key(0), features())
    random = np.random.RandomState(1)
    return jax.tree.map(lambda s: np.float32(random.normal(size=s.shape)), shapes)


def stream(params, x, name):
    """Linear, ReLU, linear, in NumPy."""
    for layer in ("hidden", "output"):
        weights = params[f"{name}_{layer}"]
        x = x @ weights["w"] + weights["b"]
        x = np.maximum(x, 0) if layer == "hidden" else x
    return x


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_dueling_logits_are_value_plus_advantage_less_its_mean():
    head = make_head()
    params, x = random_params(head), features()
    output = head.apply(params, None, x)
    advantage = stream(params, x, "advantage").reshape(3, 4, 3)
    logits = stream(params, x, "value")[:, None] + advantage - advantage.mean(1, keepdims=True)
    np.testing.assert_allclose(output.q_logits, logits, rtol=1e-4, atol=1e-4)
    # So the mean over the actions is the value's, and what is common to them has no effect.
    np.testing.assert_allclose(output.q_logits.mean(1), stream(params, x, "value"), atol=1e-4)
    advantage_output = params["advantage_output"]
    raised = advantage_output["b"] + np.tile(np.float32([1, -2, 3]), 4)
    changed = {**params, "advantage_output": {**advantage_output, "b": raised}}
    np.testing.assert_allclose(head.apply(changed, None, x).q_logits, logits, atol=1e-4)


def test_q_values_are_the_means_of_the_distributions():
    head = make_head()
    output = head.apply(random_params(head), None, features())
    expected = np.sum(softmax(np.asarray(output.q_logits)) * ATOMS, axis=-1)
    np.testing.assert_allclose(output.q_values, expected, rtol=1e-6, atol=1e-6)
    assert output.q_values.shape == (3, 4)


def test_the_mean_over_atoms_is_no_product_of_matrices():
    """Which TF32 would round to 10 bits: the four layers are the only products."""
    head = make_head()
    jaxpr = jax.make_jaxpr(lambda p, x: head.apply(p, None, x))(random_params(head), features())
    assert str(jaxpr).count("dot_general[") == 4


def test_q_values_by_hand():
    """Without dueling and with weights 0 the logits are the biases: log of (1, 2, 1) / 4 etc."""
    head = make_head(dueling=False, num_actions=2)
    params = jax.tree.map(np.zeros_like, random_params(head))
    assert set(params) == {"action_hidden", "action_output"}
    params["action_output"]["b"] = np.log(np.float32([1, 2, 1, 1, 1, 8]))
    output = head.apply(params, None, features())
    np.testing.assert_allclose(output.q_values, [[0.25, 1.5]] * 3, rtol=1e-6)


def test_noise_moves_every_logit_and_a_draw_per_row_differs_by_row():
    head = make_head(noisy=True)
    params, x = random_params(head), np.tile(features(1), (3, 1))
    first, second = (head.apply(params, jax.random.key(i), x).q_logits for i in range(2))
    assert (np.asarray(first) != np.asarray(second)).all()
    np.testing.assert_allclose(first[0], first[1], rtol=1e-4, atol=1e-4)
    per_row = np.asarray(head.apply(params, jax.random.key(0), x, True).q_logits)
    assert (per_row[0] != per_row[1]).all()


def test_without_sigma_a_noisy_head_is_its_mean():
    head = make_head(noisy=True)
    params = {
        module: {n: 0 * x if n.startswith("sigma") else x for n, x in leaves.items()}
        for module, leaves in random_params(head).items()
    }
    plain = {
        module: {"w": leaves["mu_w"], "b": leaves.get("mu_b", np.zeros(leaves["mu_w"].shape[1]))}
        for module, leaves in params.items()
    }
    advantage = stream(plain, features(), "advantage").reshape(3, 4, 3)
    logits = stream(plain, features(), "value")[:, None] + advantage
    output = head.apply(params, jax.random.key(0), features())
    np.testing.assert_allclose(
        output.q_logits, logits - advantage.mean(1, keepdims=True), atol=1e-4
    )


@pytest.mark.parametrize("noisy", [False, True])
def test_biases_of_the_layers(noisy):
    """Noisy outputs have a bias for sigma alone, plain ones have a bias; a norm replaces others."""
    norm = normalization.Normalization("layer")
    names = {
        kind: {module: set(leaves) for module, leaves in random_params(head).items()}
        for kind, head in (
            ("none", make_head(noisy=noisy)),
            ("layer", make_head(norm, noisy=noisy)),
        )
    }
    weights, biases = ({"mu_w", "sigma_w"}, {"mu_b", "sigma_b"}) if noisy else ({"w"}, {"b"})
    for stream_name in ("value", "advantage"):
        assert names["none"][f"{stream_name}_hidden"] == weights | biases
        assert names["layer"][f"{stream_name}_hidden"] == weights
        assert names["layer"][f"{stream_name}_norm"] == {"scale", "offset"}
        for kind in names:
            assert names[kind][f"{stream_name}_output"] == weights | (biases - {"mu_b"})


def test_a_shared_bias_is_the_same_for_all_actions():
    """Of three atoms three biases; every action's logits move with them."""
    head = make_head(dueling=False, shared_bias=True)
    params, x = random_params(head), features()
    output = params["action_output"]
    assert {name: leaf.shape for name, leaf in output.items()} == {"w": (6, 12), "b": (3,)}
    raised = {**params, "action_output": {**output, "b": output["b"] + np.float32([1, -2, 3])}}
    moved = head.apply(raised, None, x).q_logits - head.apply(params, None, x).q_logits
    np.testing.assert_allclose(moved, np.tile(np.float32([1, -2, 3]), (3, 4, 1)), atol=1e-5)
    plain = {**params, "action_output": {"w": output["w"], "b": np.tile(output["b"], 4)}}
    expected = make_head(dueling=False).apply(plain, None, x).q_logits
    np.testing.assert_allclose(head.apply(params, None, x).q_logits, expected, atol=1e-5)


@pytest.mark.parametrize("change", [{"noisy": True, "dueling": False}, {"dueling": True}])
def test_a_shared_bias_needs_one_plain_stream(change):
    with pytest.raises(checks.ConfigError, match=r"^network\.head\.shared_bias = True: expected"):
        action_values.Settings(**{"noisy": False, "shared_bias": True, **change})


def test_one_number_for_each_action_is_a_value_head():
    """As DQN's: [B, A, 1], without dueling the output layer itself."""
    settings = action_values.Settings(hidden_size=6, dueling=False, noisy=False)
    head = action_values.ActionValueHead(settings, 4, 1, nonlinearity.Nonlinearity())
    network = hk.without_apply_rng(hk.transform(lambda x: head(x)))
    params = random_params(network)
    found = network.apply(params, features())
    assert found.shape == (3, 4, 1)
    np.testing.assert_allclose(found[..., 0], stream(params, features(), "action"), rtol=1e-4)


@pytest.mark.parametrize("noisy", [False, True])
def test_layers_are_declared_as_what_they_are(noisy):
    """The norm feeds the output layer; a noisy layer's sigmas are the partners of its means."""
    norm = normalization.Normalization("layer", keep_bias=True)
    with declared.recording() as found:
        jax.eval_shape(make_head(norm, noisy=noisy).init, jax.random.key(0), features())
    by_module = {layer.module: layer for layer in found.layers}
    assert len(by_module) == len(found.layers) == 6
    weights, biases = (("mu_w", "sigma_w"), ("mu_b", "sigma_b")) if noisy else (("w",), ("b",))
    for name in ("value", "advantage"):
        assert by_module[f"{name}_norm"][1:4] == ("free_norm", ("scale",), ("offset",))
        hidden, output = by_module[f"{name}_hidden"], by_module[f"{name}_output"]
        assert hidden[1:4] == ("hidden", weights, biases)
        assert output[1:4] == ("output", weights, ("sigma_b",) if noisy else biases)
        for layer in (hidden, output):
            assert layer.noise == (("sigma_w", "sigma_b") if noisy else ())


def test_units_are_seen_before_and_after_the_nonlinearity():
    head = make_head()
    params, x = random_params(head), features()
    with activations.recording() as found:
        head.apply(params, None, x)
    assert set(found) == {"value_hidden", "advantage_hidden"}
    for name, units in found.items():
        weights = params[name]
        np.testing.assert_allclose(units.pre, x @ weights["w"] + weights["b"], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(units.post, np.maximum(units.pre, 0))


def test_the_support_runs_evenly_from_minus_v_max_to_v_max():
    atoms = c51.support(10.0, 51)
    np.testing.assert_allclose(atoms, -10 + 0.4 * np.arange(51), atol=1e-5)
    assert atoms.dtype == np.float32


@pytest.mark.parametrize(
    "change", [{"hidden_size": 0}, {"dueling": "yes"}, {"noisy_sigma": -0.1}, {"noise": "none"}]
)
def test_bad_settings_are_refused(change):
    with pytest.raises(checks.ConfigError, match=rf"^network\.head\.{next(iter(change))} = "):
        sections.parse(action_values.Settings, "network.head", **change)
