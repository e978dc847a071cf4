"""QR-DQN and IQN: the quantile loss by hand, and whole updates against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import iqn, quantile_loss
from core import types
from networks import implicit_quantiles
from networks.heads import quantiles
from plasticity.interventions import redo
from tests.agents import numpy_twin, small_agents
from tests.agents.small_agents import observations, transitions

HEAD = {"dueling": False, "noisy": False}
OPTIMIZER = {
    "kwargs": numpy_twin.ADAM,
    "learning_rate": numpy_twin.LEARNING_RATE,
    "max_gradient_norm": 1.0,
}
SAMPLES = {"tau_samples_policy": 5, "tau_samples_tm1": 3, "tau_samples_t": 4}
SMALL = {"qrdqn": {"num_quantiles": 4}, "iqn": {"tau_latent_size": 6, **SAMPLES}}
both = pytest.mark.parametrize("name", SMALL)


def make(name, **changes):
    return small_agents.make(name, head=HEAD, optimizer=OPTIMIZER, **SMALL[name], **changes)


# The loss by hand.


def output(values, taus):
    """Of one row and one action."""
    return quantiles.distribution(jnp.float32(values)[None, :, None], jnp.float32([taus]))


@pytest.mark.parametrize(("target", "expected"), [(0.5, 0.03125), (-2.0, 1.125)])
def test_an_error_by_hand(target, expected):
    """Of the quantile 0.25 at 0: a quarter of 0.5^2 / 2, and three quarters of 2 - 1/2."""
    made = output([0.0], [0.25])
    (loss,) = quantile_loss.losses_of(made, jnp.int32([0]), jnp.float32([[target]]), 1.0)
    assert float(loss) == pytest.approx(expected)


def test_without_kappa_the_loss_is_linear():
    made = output([0.0], [0.25])
    (loss,) = quantile_loss.losses_of(made, jnp.int32([0]), jnp.float32([[0.5, -2]]), 0.0)
    assert float(loss) == pytest.approx((0.25 * 0.5 + 0.75 * 2) / 2)


def test_losses_are_summed_over_quantiles_and_averaged_over_targets():
    """Two quantiles at 0 with targets 0.5 and -2: each the mean of two errors."""
    made = output([0.0, 0.0], [0.25, 0.75])
    (loss,) = quantile_loss.losses_of(made, jnp.int32([0]), jnp.float32([[0.5, -2]]), 1.0)
    first, second = (0.25 * 0.125 + 0.75 * 1.5) / 2, (0.75 * 0.125 + 0.25 * 1.5) / 2
    assert float(loss) == pytest.approx(first + second)


def test_targets_are_the_quantiles_of_the_action_with_the_best_value():
    target = quantiles.distribution(jnp.float32([[[1, 5], [3, 7]]]), jnp.float32([[0.2, 0.8]]))
    transition = types.Transition(None, None, jnp.float32([0.5]), jnp.float32([0.9]), None)
    found = [
        quantile_loss.greedy_targets(transition, target, jnp.float32([q]))
        for q in ([1.0, 0.0], [0.0, 1.0])
    ]
    np.testing.assert_allclose(found[0], [[0.5 + 0.9, 0.5 + 2.7]], rtol=1e-6)
    np.testing.assert_allclose(found[1], [[0.5 + 4.5, 0.5 + 6.3]], rtol=1e-6)


def test_midpoints_and_cosines():
    np.testing.assert_allclose(quantiles.midpoints(4), [0.125, 0.375, 0.625, 0.875])
    assert quantiles.midpoints(201)[0] == np.float32(0.5 / 201)
    found = implicit_quantiles.cosines(jnp.float32([0.5, 1.0]), 4)
    np.testing.assert_allclose(found, [[0, -1, 0, 1], [-1, 1, -1, 1]], atol=1e-6)


# The update.


def twin_losses(values, taus, actions, targets):
    """Losses [B] of quantiles [B, N, A] at shares [B, N] for targets [B, M]."""
    chosen = values[np.arange(len(actions)), :, actions]
    errors = targets[:, None, :] - chosen[:, :, None]
    size = np.abs(errors)
    huber = np.where(size <= 1, errors**2 / 2, size - 0.5)
    return (np.abs(taus[:, :, None] - (errors < 0)) * huber).mean(2).sum(1)


def twin_values(name, params, x, taus):
    """Quantiles [B, N, A]."""
    features = numpy_twin.features(params, x)
    if name == "qrdqn":
        return np.swapaxes(numpy_twin.head(params, features), 1, 2)
    angles = np.pi * taus.reshape(-1)[:, None] * np.arange(1, 7)
    embedded = np.maximum(numpy_twin.dense(params, "tau_embedding", np.cos(angles)), 0)
    products = np.repeat(features, taus.shape[1], axis=0) * embedded
    return numpy_twin.head(params, products).reshape(*taus.shape, -1)


def shares(name, rng, batch_size):
    """Those that an update draws by its key: of the value, for the choice, of the target."""
    if name == "qrdqn":
        midpoints = np.tile([0.125, 0.375, 0.625, 0.875], (batch_size, 1))
        return midpoints, midpoints, midpoints
    drawn = []
    for key, number in zip(jax.random.split(rng, 3), (3, 5, 4)):
        rng_taus, _ = jax.random.split(key)
        drawn.append(np.asarray(jax.random.uniform(rng_taus, (batch_size, number)), np.float64))
    return drawn


@both
def test_an_update_is_that_of_its_twin(name):
    agent, rng = make(name), jax.random.key(2)
    state = agent.init(jax.random.key(0), observations(1))
    other = agent.init(jax.random.key(1), observations(1))
    state = state._replace(target_params=other.params)
    batch, weights = transitions(8), jnp.linspace(0.2, 1, 8)
    updated = jax.jit(agent.update)(state, rng, batch, weights)

    params, target_params = (numpy_twin.float64(s.params) for s in (state, other))
    x, rows = jax.tree.map(np.asarray, batch), np.arange(8)
    taus, taus_policy, taus_t = shares(name, rng, 8)
    best = twin_values(name, target_params, x.s_t, taus_policy).mean(1).argmax(1)
    chosen = twin_values(name, target_params, x.s_t, taus_t)[rows, :, best]
    targets = x.r_t[:, None] + x.discount_t[:, None] * chosen

    def losses(p):
        return twin_losses(twin_values(name, p, x.s_tm1, taus), taus, x.a_tm1, targets)

    mean = lambda p: np.mean(np.asarray(weights) * losses(p))  # noqa: E731
    grads = numpy_twin.gradient(mean, params)
    expected = numpy_twin.adam(params, numpy_twin.clipped(grads, 1.0))
    np.testing.assert_allclose(updated.priorities, losses(params), rtol=1e-4)
    assert float(updated.metrics["loss"]) == pytest.approx(mean(params), rel=1e-4)
    numpy_twin.assert_close(updated.state.params, expected)


@both
def test_the_gradient_of_a_quantile_is_bounded(name):
    """By its share of the batch, however far the targets are: Huber's slope is 1 at most."""
    agent = make(name)
    state = agent.init(jax.random.key(0), observations(1))
    made = agent.apply(state.params, jax.random.key(1), observations(4))
    targets = jnp.float32([[1e4, -1e4]] * 4)
    scalar = lambda values: jnp.mean(  # noqa: E731
        quantile_loss.losses_of(made._replace(quantiles=values), jnp.int32([0] * 4), targets, 1.0)
    )
    gradient = np.asarray(jax.grad(scalar)(made.quantiles))
    assert 0 < np.abs(gradient).max() <= 1 / 4


# IQN's shares.


def test_every_pass_draws_its_own_shares():
    agent = make("iqn")
    params, x = agent.init(jax.random.key(0), observations(1)).params, observations(4)
    first, second = (agent.apply(params, jax.random.key(i), x) for i in range(2))
    assert first.taus.shape == (4, 5)
    assert first.quantiles.shape == (4, 5, 3)
    assert len(np.unique(np.concatenate([first.taus, second.taus]))) == 40
    np.testing.assert_allclose(first.q_values, first.quantiles.mean(1), rtol=1e-6)


def test_an_observation_passes_the_torso_once_and_the_head_with_every_share():
    agent = make("iqn")
    params = agent.init(jax.random.key(0), observations(1)).params
    seen = agent.units(params, jax.random.key(1), observations(4))
    shapes = {name: units.post.shape for name, units in seen.items()}
    assert shapes == {
        "torso/linear_0": (4, 8),
        "tau_embedding": (4, 5, 8),
        "action_hidden": (4, 5, 8),
    }


@pytest.mark.parametrize("module", ["torso/linear_0", "tau_embedding"])
def test_a_dead_unit_of_either_factor_is_recycled(module):
    """Its weights are new, and the rows of the layer that reads the product are 0."""
    recycle = redo.Settings(threshold=0.0, period_frames=4)
    agent = make("iqn", interventions=(recycle,))
    state = agent.init(jax.random.key(0), observations(1))
    params = {name: dict(leaves) for name, leaves in state.params.items()}
    params[module]["b"] = params[module]["b"].at[2].set(-100.0)
    state = state._replace(params=params)
    updated = agent.update(state, jax.random.key(1), transitions(16), jnp.ones(16))
    after = updated.state.params
    assert not np.asarray(after["action_hidden"]["w"][2]).any()
    assert float(after[module]["b"][2]) == 0
    assert (np.asarray(after[module]["w"][:, 2]) != np.asarray(params[module]["w"][:, 2])).all()
    seen = agent.units(after, jax.random.key(2), observations(16))
    assert np.asarray(seen[module].pre[..., 2]).max() > -1


def test_settings_of_iqn_are_dqn_zoo_s():
    agent = iqn.Settings()
    found = (agent.tau_latent_size, agent.tau_samples_policy, agent.tau_samples_tm1)
    assert (*found, agent.tau_samples_t, agent.kappa) == (64, 64, 64, 64, 1.0)
