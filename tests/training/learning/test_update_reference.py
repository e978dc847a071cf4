"""Whole updates of the learner against an independent version in NumPy, float64 on both sides."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import rainbow
from core import types
from networks import linear
from replay.device import prioritized
from tests.training.learning import numpy_rainbow
from training.learning import replay_learner

pytestmark = pytest.mark.usefixtures("float64")

# Exact in float32, in which the project has them.
ATOMS = np.linspace(-2, 2, 9)
TARGET_PERIOD = 2


def make_update(learner):
    """A function of (state, draws): the new state, the metrics and the sample.

    The draws stand in for those of the noise, in their order. The learner gets the sample in
    float64; the ring itself is float32.
    """
    replay = prioritized.PrioritizedReplay
    sample, update_priorities = replay.sample, replay.update_priorities

    def update(state, draws):
        remaining, samples = list(draws), []

        def draw(rng, shape):
            noise = remaining.pop(0)
            assert noise.shape == shape
            return noise

        def sample_in_float64(self, state, rng, batch_size):
            samples.append(jax.tree.map(_in_float64, sample(self, state, rng, batch_size)))
            return samples[-1]

        def update_in_float32(self, state, keys, priorities):
            return update_priorities(self, state, keys, priorities.astype(jnp.float32))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(linear, "factorised_noise", draw)
            patch.setattr(replay, "sample", sample_in_float64)
            patch.setattr(replay, "update_priorities", update_in_float32)
            new_state, metrics = learner.update_one(state)
        assert not remaining
        return new_state, metrics, samples[0]

    return update


def _in_float64(x):
    return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


def draw_noise(random):
    """Inputs' and outputs' draws of four layers (value hidden and output, advantage), three passes.

    The features are 64, the hidden layers 8; 9 atoms, of which each of 3 actions has its own.
    """
    sizes = (64, 8, 8, 9, 64, 8, 8, 27)
    return [random.normal(size=(1, size)) for _ in range(3) for size in sizes]


def random_params(learner, seed, size):
    """Parameters off their initial values in every respect; all are multiplied by `size`."""
    shapes = learner.agent.param_shapes()
    random = np.random.RandomState(seed)

    def draw(name, shape):
        value = random.normal(size=shape)
        if name == "scale":
            return 1 + 0.3 * value
        part = 0.3 if name.startswith("sigma") else 1.0
        return part * value / max(1, np.prod(shape[:-1])) ** 0.5

    return {
        module: {name: jnp.asarray(size * draw(name, leaf.shape)) for name, leaf in leaves.items()}
        for module, leaves in shapes.items()
    }


@pytest.fixture(scope="module")
def filled_replay(make_learner, random_steps):
    """A ring that has wrapped around, with several priorities: 50 steps of two in 40 rows."""
    replay = make_learner().replay
    state, add = replay.init(), jax.jit(replay.add)
    for step in random_steps(4, 50, 2):
        state = add(state, step)
    keys = jnp.arange(20, 60)
    priorities = np.random.RandomState(0).uniform(0.1, 3.0, 40)
    return replay.update_priorities(state, keys, jnp.asarray(priorities))


def make_state(learner, replay, size):
    """A learner in the middle of a run, with two unequal networks."""
    params = random_params(learner, 1, size)
    optimizer = learner.agent.update.__self__.intervening.optimizer
    return replay_learner.LearnerState(
        train=types.TrainState(
            params=params,
            target_params=random_params(learner, 2, size),
            opt_state=optimizer.init(params),
            updates=jnp.zeros((), jnp.int32),
            interventions={},
        ),
        rng=jax.random.key(3),
        replay=replay,
        stack=jnp.zeros((2, 4, 36, 36), jnp.uint8),
        steps=jnp.zeros((), jnp.int32),
        importance_start=jnp.zeros((), jnp.int32),
    )


COMMON = {
    # Whose draws come one by one.
    "formulation": "reference",
    "optimizer.learning_rate": 1e-2,
    # So that the largest losses are clipped.
    "replay.max_priority": 2.2,
    # 1/2 at 16 steps, 3/4 at 100, 1 at 184: exact in float32.
    "replay.importance_exponent": 0.5,
    "replay.importance_exponent_end_steps": 184,
    "training.update_period_frames": 16,
    "training.target_update_period_frames": 16 * TARGET_PERIOD,
}

CASES = {
    "norm none": {"network.norm.kind": "none"},
    "norm none, projection": {
        "network.norm.kind": "none",
        "optimizer.projection.enabled": True,
        "optimizer.projection.scale_offset": "free",
    },
    "norm over channels, biases kept": {
        "network.norm.kind": "layer",
        "network.norm.axes": "channels",
        "network.norm.keep_bias": True,
    },
    "norm, projection": {
        "network.norm.kind": "layer",
        "optimizer.projection.enabled": True,
    },
}

# Sizes of the parameters with which the gradients' norms are below, and above, their limit of 10.
SIZES = {"not clipped": 0.6, "clipped": 3.0}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def case(request, make_learner):
    """A case's settings, its learner, and its update, compiled when it is first called."""
    changes = {**COMMON, **request.param}
    learner = make_learner(changes=changes)
    update, compiled = jax.jit(make_update(learner)), []

    def call(*arguments):
        if not compiled:
            # The time goes into compiling: three seconds of it instead of six.
            options = {"xla_backend_optimization_level": 0}
            compiled.append(update.lower(*arguments).compile(compiler_options=options))
        return compiled[0](*arguments)

    return changes, learner, call


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_two_updates_equal_those_in_numpy(case, filled_replay, size):
    """Sampled batch, three passes with noise of their own, loss, gradients, clipping, Adam,
    projection, priorities; the second update copies the target network and the first does not.
    """
    changes, learner, update = case
    state = make_state(learner, filled_replay, size)
    reference, random = Reference(state, changes), np.random.RandomState(5)
    for _ in range(2):
        draws = draw_noise(random)
        new_state, metrics, sample = update(state, draws)
        sample = jax.tree.map(np.asarray, sample)
        reference.update(sample, draws)
        compare(new_state, metrics, reference)
        compare_priorities(state.replay, new_state.replay, sample, reference.losses)
        assert (reference.gradient_norm > 10.0) == (size == SIZES["clipped"])
        state = new_state


class Reference:
    """The same run in NumPy."""

    def __init__(self, state, changes):
        self.config = rainbow.get_config()
        self.config.update_from_flattened_dict(changes)
        norm, optimizer = self.config.network.norm, self.config.optimizer
        self.norm = None
        if norm.kind == "layer":
            self.norm = numpy_rainbow.Norm(norm.axes, norm.epsilon)
        self.network = numpy_rainbow.Network(self.norm, num_actions=3)
        self.params, self.target_params = (
            jax.tree.map(np.asarray, p) for p in (state.train.params, state.train.target_params)
        )
        self.adam = numpy_rainbow.Adam.init(self.params)
        self.radii = {}
        if optimizer.projection.enabled:
            self.radii = numpy_rainbow.radii_of(self.params, self.norm)
        self.updates = 0

    def update(self, sample, draws):
        pairs = list(zip(draws[::2], draws[1::2]))
        noise = [pairs[:4], pairs[4:8], pairs[8:]]
        # The exponent after 50 rows of two environments.
        weights = (1 / sample.probabilities) ** 0.75
        weights /= weights.max()
        self.loss, grads, self.losses = numpy_rainbow.loss_and_gradient(
            self.network,
            self.params,
            self.target_params,
            sample.transition,
            weights,
            noise,
            ATOMS,
        )
        self.gradient_norm = numpy_rainbow.global_norm(grads)
        params, self.adam = self.adam.update(self.params, grads, self.config.optimizer)
        self.params = numpy_rainbow.project_weights(params, self.radii)
        self.updates += 1
        if self.updates % TARGET_PERIOD == 0:
            self.target_params = self.params


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def compare(state, metrics, reference):
    assert int(state.train.updates) == reference.updates
    assert_close(metrics["loss"], reference.loss)
    assert_close(metrics["td_loss"], reference.losses.mean())
    assert_close(metrics["gradient_norm"], reference.gradient_norm)
    assert jax.tree.leaves(state.train.params)[0].dtype == np.float64
    jax.tree.map(assert_close, state.train.params, reference.params)
    jax.tree.map(assert_close, state.train.target_params, reference.target_params)
    (adam,) = (
        node for node in jax.tree.leaves(state.train.opt_state, is_leaf=is_adam) if is_adam(node)
    )
    assert int(adam.count) == reference.updates
    jax.tree.map(assert_close, adam.mu, reference.adam.mu)
    jax.tree.map(assert_close, adam.nu, reference.adam.nu)
    for module, radius in reference.radii.items():
        assert_close(numpy_rainbow.norm_of(reference.params[module]), radius)


def is_adam(node):
    return isinstance(node, optax.ScaleByAdamState)


def compare_priorities(before, after, sample, losses):
    """The sampled leaves have their loss, 2.2 at most, to the power 1/2; all others stay (float32).

    The ring has 40 rows of 2; a key is row * 2 + env_id, so the leaf is the key modulo 80.
    """
    expected = np.asarray(before.tree.weights).ravel().copy()
    priorities = np.minimum(losses, 2.2)
    leaves = sample.keys % 80
    for leaf in set(leaves.tolist()):
        expected[leaf] = priorities[leaves == leaf].max() ** 0.5
    np.testing.assert_allclose(np.asarray(after.tree.weights).ravel(), expected, rtol=1e-6)
    largest = max(float(before.max_priority), priorities.max())
    np.testing.assert_allclose(float(after.max_priority), largest, rtol=1e-6)


def test_the_reference_s_gradients_are_those_of_its_loss():
    """By central differences in every parameter array, so that both sides can't err alike."""
    network = numpy_rainbow.Network(numpy_rainbow.Norm("all", 1e-5), num_actions=2)
    random = np.random.RandomState(0)
    params = small_params(random)
    frames = random.randint(0, 256, (2, 1, 36, 36))
    noise = [(random.normal(size=(1, i)), random.normal(size=(1, o))) for i, o in SMALL_NOISE]
    direction = random.normal(size=(2, 2, 3))

    def value(p):
        return np.sum(direction * network.forward(p, frames, noise)[0])

    _, caches = network.forward(params, frames, noise)
    grads = network.backward(caches, direction)
    for module, leaves in params.items():
        for name, leaf in leaves.items():
            step = 1e-6 * random.normal(size=leaf.shape)
            up, down = (
                {**params, module: {**leaves, name: leaf + sign * step}} for sign in (1, -1)
            )
            expected = np.sum(grads[module][name] * step)
            assert value(up) - value(down) == pytest.approx(2 * expected, rel=1e-4, abs=1e-12)


# Inputs and outputs of value hidden and output, advantage hidden and output.
SMALL_NOISE = ((3, 4), (4, 3), (3, 4), (4, 6))


def small_params(random):
    """Two or three channels, hidden layers of four, three atoms."""
    shapes = {f"torso/conv_{i}": {"w": s} for i, s in enumerate(((8, 8, 1, 2), (4, 4, 2, 2)))}
    shapes["torso/conv_2"] = {"w": (3, 3, 2, 3)}
    for stream, (hidden, output) in zip(("value", "advantage"), (SMALL_NOISE[:2], SMALL_NOISE[2:])):
        shapes[f"{stream}_hidden"] = {"mu_w": hidden, "sigma_w": hidden}
        shapes[f"{stream}_output"] = {"mu_w": output, "sigma_w": output, "sigma_b": output[1:]}
        shapes[f"{stream}_norm"] = {"scale": (4,), "offset": (4,)}
    for i, size in enumerate((2, 2, 3)):
        shapes[f"torso/norm_{i}"] = {"scale": (size,), "offset": (size,)}
    return {
        m: {n: random.normal(size=s) for n, s in leaves.items()} for m, leaves in shapes.items()
    }
