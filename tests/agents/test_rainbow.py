"""Rainbow's loss and its acting: targets by hand, double Q-learning, noise, exploration."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import exploration, rainbow
from configs import rainbow as rainbow_config
from core import checks, types
from networks import linear
from networks.heads import c51
from tests.agents import small_agents
from tests.agents.small_agents import NUM_ACTIONS, observations, transitions
from training import run_settings

ATOMS = np.float32([-1, 0, 1])
NO_STEPS = jnp.int32(0)


def make_agent(acting_noise="per_sample", **changes):
    """Rainbow on vectors of length 2: a small network, three atoms."""
    # Larger than usual, so that noise changes actions.
    head = {"noisy_sigma": 2.0, "acting_noise": acting_noise}
    return small_agents.make("rainbow", num_atoms=3, v_max=1.0, head=head, **changes)


def make_loss(agent):
    """Of that agent: (params, target_params, rng, transitions, weights)."""
    passes = lambda inputs: [agent.apply(*each) for each in inputs]  # noqa: E731
    return rainbow.make_loss(passes, rainbow.Settings(num_atoms=3, v_max=1.0))


def init(agent, seed=0):
    """Parameters with the agent's sigmas and random means."""
    random = np.random.RandomState(seed)

    def draw(module, name, shape):
        del module
        value = np.full(shape.shape, 0.7) if "sigma" in name else random.normal(size=shape.shape)
        return jnp.asarray(value, jnp.float32)

    return hk.data_structures.map(draw, agent.param_shapes())


# Targets by hand.


def losses(r_t, discount_t, target, selector_q, q_tm1, a_tm1=0):
    """The loss of one transition; distributions as probabilities [A, atoms]."""
    output = lambda p, q: c51.C51Output(jnp.float32([q]), jnp.log(jnp.float32([p])))  # noqa: E731
    unused_q = [0.0] * len(target)
    transition = types.Transition(
        s_tm1=None,
        a_tm1=jnp.int32([a_tm1]),
        r_t=jnp.float32([r_t]),
        discount_t=jnp.float32([discount_t]),
        s_t=None,
    )
    (loss,) = rainbow.categorical_double_q_losses(
        output(q_tm1, unused_q),
        output(target, selector_q),
        output(target, unused_q),
        transition,
        jnp.asarray(ATOMS),
    )
    return float(loss)


def cross_entropy(target, q):
    return -np.sum(np.array(target) * np.log(q))


Q = [0.2, 0.5, 0.3]


@pytest.mark.parametrize(
    ("r_t", "discount_t", "projected"),
    [
        # Atoms at -0.25, 0.25, 0.75 with 0.2, 0.3, 0.5, shared among their neighbours.
        (0.25, 0.5, [0.05, 0.5, 0.45]),
        # Nothing to bootstrap: all at 0.5.
        (0.5, 0.0, [0.0, 0.5, 0.5]),
        # Beyond the support: all at its end.
        (3.0, 0.5, [0.0, 0.0, 1.0]),
        (-3.0, 0.5, [1.0, 0.0, 0.0]),
        # Partly beyond: atoms at -0.25, 0.75 and, for 1.75, 1.
        (0.75, 1.0, [0.05, 0.225, 0.725]),
        (0.0, 1.0, [0.2, 0.3, 0.5]),
    ],
)
def test_the_target_is_the_projected_distribution(r_t, discount_t, projected):
    """By hand for atoms -1, 0, 1 and a target distribution of 0.2, 0.3, 0.5."""
    loss = losses(r_t, discount_t, [[0.2, 0.3, 0.5]], [0.0], [Q])
    assert loss == pytest.approx(cross_entropy(projected, Q), rel=1e-5)


def test_the_selector_chooses_and_the_target_network_values():
    """Action 1 by the selector, though action 0 is the target network's own best."""
    target = [[0.01, 0.01, 0.98], [0.6, 0.3, 0.1]]
    loss = losses(0.0, 1.0, target, [1.0, 2.0], [Q, Q])
    assert loss == pytest.approx(cross_entropy([0.6, 0.3, 0.1], Q), rel=1e-5)


def test_the_loss_is_that_of_the_action_taken():
    p = [[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]]
    found = [losses(0.0, 1.0, p, [0, 0], [Q, [0.1, 0.1, 0.8]], a_tm1=a) for a in (0, 1)]
    expected = [cross_entropy(p[0], q) for q in (Q, [0.1, 0.1, 0.8])]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# The loss of a batch.


@pytest.fixture(scope="module")
def agent():
    return make_agent()


def test_priorities_are_the_losses_before_weighting(agent):
    """With all the weight on one row the mean is a quarter of its priority."""
    params, target_params = init(agent), init(agent, 5)
    loss = make_loss(agent)
    for b in range(4):
        value, output = loss(
            params, target_params, jax.random.key(0), transitions(4), jnp.eye(4)[b]
        )
        assert float(value) == pytest.approx(float(output.priorities[b]) / 4, rel=1e-5)
    assert output.priorities.shape == (4,)
    assert len(set(output.priorities.tolist())) == 4
    assert float(output.metrics["td_loss"]) == pytest.approx(float(output.priorities.mean()), 1e-5)


def test_the_loss_is_made_of_three_passes_with_noise_of_their_own(agent, monkeypatch):
    """Online at s_tm1, online at s_t, target at s_t: 2 draws in each of 4 layers, none repeated.

    The loss is what the three outputs, computed with the draws recorded, give.
    """
    batch, params, target_params = transitions(4), init(agent), init(agent, 5)
    draws = []
    original = linear.factorised_noise

    def record(rng, shape):
        draws.append(original(rng, shape))
        return draws[-1]

    monkeypatch.setattr(linear, "factorised_noise", record)
    _, output = make_loss(agent)(params, target_params, jax.random.key(0), batch, jnp.ones(4))
    assert len(draws) == 24
    assert len({np.asarray(draw).tobytes() for draw in draws}) == 24

    recorded = iter(draws)
    monkeypatch.setattr(linear, "factorised_noise", lambda rng, shape: next(recorded))
    inputs = ((params, batch.s_tm1), (params, batch.s_t), (target_params, batch.s_t))
    outputs = [agent.apply(p, jax.random.key(9), s) for p, s in inputs]
    expected = rainbow.categorical_double_q_losses(*outputs, batch, jnp.asarray(ATOMS))
    np.testing.assert_allclose(output.priorities, expected, rtol=1e-4)


def test_only_the_first_pass_is_differentiated(agent):
    """No gradient reaches the target network; that of the online one is that of its pass at s_tm1.

    So moving s_t's selector within its choice of actions must not change the gradient: the
    gradient is compared with that of the cross-entropy to a fixed target.
    """
    params, target_params, batch = init(agent), init(agent, 5), transitions(4)
    rng = jax.random.key(0)
    scalar = lambda p, t: make_loss(agent)(p, t, rng, batch, jnp.ones(4))[0]  # noqa: E731
    grads, target_grads = jax.grad(scalar, argnums=(0, 1))(params, target_params)
    assert all(not np.asarray(g).any() for g in jax.tree.leaves(target_grads))

    rng_tm1, rng_selector, rng_target = jax.random.split(rng, 3)
    selector = agent.apply(params, rng_selector, batch.s_t)
    target = agent.apply(target_params, rng_target, batch.s_t)

    def of_first_pass(p):
        output = agent.apply(p, rng_tm1, batch.s_tm1)
        atoms = jnp.asarray(ATOMS)
        return jnp.mean(rainbow.categorical_double_q_losses(output, selector, target, batch, atoms))

    expected = jax.grad(of_first_pass)(params)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(close, grads, expected)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)) > 0.01


# Acting.


def test_without_epsilon_the_noisy_network_s_best_action_is_taken():
    agent = make_agent(acting_noise="shared")
    params, x, rng = init(agent), observations(64), jax.random.key(3)
    actions = agent.act(params, rng, x, NO_STEPS, "training")
    rng_noise, _ = jax.random.split(rng)
    q_values = np.asarray(agent.apply(params, rng_noise, x).q_values)
    assert actions.dtype == np.int32
    np.testing.assert_array_equal(actions, q_values.argmax(1))
    assert len(set(np.asarray(actions).tolist())) > 1


def test_acting_noise_is_each_environment_s_own_or_shared():
    """Sixty-four equal observations."""
    x = jnp.tile(observations(1), (64, 1))
    distinct = {}
    for noise in ("per_sample", "shared"):
        agent = make_agent(acting_noise=noise)
        actions = agent.act(init(agent), jax.random.key(4), x, NO_STEPS, "training")
        distinct[noise] = set(np.asarray(actions).tolist())
    assert len(distinct["shared"]) == 1
    assert len(distinct["per_sample"]) > 1


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_epsilon_is_the_share_of_uniform_actions(epsilon):
    """Of 30 000 rows whose best action is 1: within five standard errors."""
    q_values = jnp.tile(jnp.float32([[0, 5, 1]]), (30_000, 1))
    actions = exploration.epsilon_greedy(jax.random.key(5), q_values, epsilon)
    shares = np.bincount(np.asarray(actions), minlength=3) / 30_000
    expected = np.array([epsilon / 3, 1 - epsilon * 2 / 3, epsilon / 3])
    assert (np.abs(shares - expected) <= 5 * np.sqrt(expected * (1 - expected) / 30_000)).all()


def test_training_and_evaluation_have_their_own_epsilons():
    agent = make_agent(exploration_epsilon=1.0, evaluation_noise=False)
    params, x = init(agent), jnp.tile(observations(1), (64, 1))
    act = lambda agent, mode: agent.act(params, jax.random.key(6), x, NO_STEPS, mode)  # noqa: E731
    assert len(set(np.asarray(act(agent, "training")).tolist())) == NUM_ACTIONS
    assert len(set(np.asarray(act(agent, "evaluation")).tolist())) == 1
    evaluated = act(make_agent(evaluation_epsilon=1.0), "evaluation")
    assert np.bincount(np.asarray(evaluated), minlength=NUM_ACTIONS).min() > 8


def test_evaluation_without_noise_is_greedy_in_the_mean_network():
    """The same for every rng, and the best actions of a network whose sigmas are 0."""
    agent = make_agent(evaluation_noise=False)
    params, x = init(agent), observations(64)
    first, second = (
        agent.act(params, jax.random.key(i), x, NO_STEPS, "evaluation") for i in range(2)
    )
    np.testing.assert_array_equal(first, second)
    silent = {
        module: {n: jnp.zeros_like(p) if "sigma" in n else p for n, p in leaves.items()}
        for module, leaves in params.items()
    }
    q_values = np.asarray(agent.apply(silent, jax.random.key(7), x).q_values)
    np.testing.assert_array_equal(first, q_values.argmax(1))


def test_evaluation_with_noise_depends_on_the_rng(agent):
    x = observations(64)
    first, second = (
        agent.act(init(agent), jax.random.key(i), x, NO_STEPS, "evaluation") for i in range(2)
    )
    assert (np.asarray(first) != np.asarray(second)).any()


def test_steps_do_not_matter(agent):
    """Rainbow's exploration is the network's noise, which does not decay by itself."""
    x = observations(64)
    first, second = (
        agent.act(init(agent), jax.random.key(0), x, jnp.int32(steps), "training")
        for steps in (0, 10**9)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent.num_atoms": 1}, "agent.num_atoms = 1: expected an integer >= 2"),
        ({"agent.v_max": 0.0}, "agent.v_max = 0.0: expected a number > 0"),
        ({"agent.gamma": 0.9}, "agent.gamma = 0.9: unknown key"),
        ({"agent.module": "sarsa"}, "agent.module = 'sarsa': expected a module of agents: "),
        ({"network.torso.module": "perceiver"}, "network.torso.module = 'perceiver'"),
        ({"network.torso.module": "linear"}, "network.torso.module = 'linear'"),
    ],
)
def test_bad_settings_are_refused(change, message):
    """At the door, where a configuration is parsed."""
    config = rainbow_config.get_config()
    with config.unlocked():
        for path, value in change.items():
            section, key = path.rsplit(".", 1)
            part = config
            for name in section.split("."):
                part = part[name]
            part[key] = value
    with pytest.raises(checks.ConfigError, match=f"^{message}"):
        run_settings.parse(config)
