"""A network in float64 for which the identities behind Normalize-and-Project are exact.

Linear layers without biases, LayerNorm with epsilon 0, ReLU, and an output layer that is neither
normalized nor projected; the loss is the cross-entropy of labels on one batch. All of it is to be
called within `float64()`, but for `distances`.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import experimental

from plasticity import layers, norm_growth, projection
from plasticity.metrics import layer_metrics

UPDATES = 400

FREE_SCALES = projection.Projection(
    projection.ProjectionSettings(enabled=True, moments="rescale", scale_offset="free"),
    functools.partial(layers.by_name, free_norm_pattern="norm_1"),
)
"""NaP that leaves scales and offsets of norms alone."""

# Adam's epsilon is zero beside every gradient but that of a unit that is off for all inputs: 0 / 0.
OPTIMIZERS: Mapping[str, tuple[Callable[[], optax.GradientTransformation], int]] = {
    "sgd": (lambda: optax.sgd(0.5), 2),
    "momentum": (lambda: optax.sgd(0.1, momentum=0.9), 2),
    "adam": (lambda: optax.adam(0.01, eps=1e-30), 1),
}
"""By name, what makes one, and the power of a norm that its effective rate falls with."""


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Within it new numbers are of double precision."""
    # Current versions of jax have it at the top, 0.4 has it in jax.experimental.
    owner: Any = jax if hasattr(jax, "enable_x64") else experimental
    with owner.enable_x64(True):
        yield


def _forward(x: jax.Array) -> jax.Array:
    for i in range(2):
        x = hk.Linear(24, with_bias=False, name=f"hidden_{i}")(x)
        x = jax.nn.relu(hk.LayerNorm(-1, True, True, eps=0.0, name=f"norm_{i}")(x))
    return hk.Linear(3, name="output")(x)


NETWORK = hk.without_apply_rng(hk.transform(_forward))
apply = jax.jit(NETWORK.apply)


class Trained(NamedTuple):
    """Before each of T updates.

    Attributes:
      losses: [T].
      norms: by layer, [T].
      gradient_norms: the same of the gradients.
    """

    losses: jax.Array
    norms: Mapping[str, jax.Array]
    gradient_norms: Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Problem:
    """Data and first parameters.

    From numpy's generator, whose numbers are the same under every version of jax.
    """

    seed: int

    def inputs(self) -> jax.Array:
        """Examples, float64 [32, 10]."""
        return jnp.asarray(self._random(0).normal(size=(32, 10)))

    def labels(self) -> jax.Array:
        """One of three classes for each, int [32]."""
        return jnp.asarray(self._random(1).randint(3, size=32))

    def params(self) -> dict[str, Any]:
        """Weights small enough to grow visibly; scales and offsets off their usual 1 and 0."""
        random = self._random(2)
        sizes = {"scale": (0.5, 1.5), "offset": (-0.2, 0.4), "w": (-0.1, 0.1), "b": (0.0, 0.0)}
        shapes = jax.eval_shape(NETWORK.init, jax.random.PRNGKey(0), self.inputs())
        return {
            module: {
                name: jnp.asarray(random.uniform(*sizes[name], size=leaf.shape))
                for name, leaf in sorted(leaves.items())
            }
            for module, leaves in sorted(shapes.items())
        }

    def loss(self, params: Any) -> jax.Array:
        """The mean cross-entropy, a scalar."""
        logits = apply(params, self.inputs())
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, self.labels())
        return jnp.mean(losses)

    def train(
        self,
        optimizer: optax.GradientTransformation,
        chosen: projection.Projection,
        start: Any = None,
        updates: int = UPDATES,
    ) -> Trained:
        """Trains from `start`, or from `params`; `chosen` says which layers are measured."""
        start = self.params() if start is None else start
        groups = projection.projected_layers(start, chosen)

        def step(carry, _):
            params, state = carry
            loss, grads = jax.value_and_grad(self.loss)(params)
            norms, of_gradients = (layer_metrics.layer_norms(x, groups) for x in (params, grads))
            change, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, change), state), Trained(loss, norms, of_gradients)

        @jax.jit
        def scan(params):
            return jax.lax.scan(step, (params, optimizer.init(params)), None, length=updates)[1]

        return scan(start)

    def _random(self, what: int) -> np.random.RandomState:
        return np.random.RandomState(3 * self.seed + what)


def free(problem: Problem, name: str) -> Trained:
    """A run whose norms grow as they like, by an optimizer's name."""
    return problem.train(OPTIMIZERS[name][0](), FREE_SCALES)


def recorded(norms: Mapping[str, jax.Array]) -> norm_growth.RecordedNorms:
    """Norms [T] by layer as a recording with a row for every update."""
    table = np.stack([np.asarray(x) for x in norms.values()], axis=1)
    return norm_growth.RecordedNorms(tuple(norms), np.arange(len(table)), table)


def replay(
    name: str,
    norms: norm_growth.RecordedNorms,
    chosen: projection.Projection,
    layer_wise: bool = True,
) -> optax.GradientTransformation:
    """A projected run's optimizer with the learning-rate decay of the recorded free run."""
    make, power = OPTIMIZERS[name]
    factors = norm_growth.scale_by_norm_growth(norms, power, chosen, layer_wise)
    return projection.project(optax.chain(make(), factors), chosen)


def keeping_moments(chosen: projection.Projection) -> projection.Projection:
    """For an inner optimizer without moments, or that shall keep them."""
    return dataclasses.replace(
        chosen, settings=dataclasses.replace(chosen.settings, moments="keep")
    )


def distances(number: int) -> list[dict[str, Any]]:
    """Rows of a problem: before each update, the distance to the free run's loss, and the growth.

    Growth is how many times its first norm the layer of the free run has that grew least.
    """
    problem, rows = Problem(number), []
    with float64():
        for name in OPTIMIZERS:
            run = free(problem, name)
            growth = np.min([norms / norms[0] for norms in run.norms.values()], axis=0)
            for rates, optimizer in _projected(name, run).items():
                losses = problem.train(optimizer, FREE_SCALES).losses
                found = np.abs(np.asarray(losses - run.losses))
                about = {"optimizer": name, "rates": rates, "problem": number}
                rows += [
                    {**about, "update": update, "distance": distance, "growth": grown}
                    for update, (distance, grown) in enumerate(zip(found, growth))
                ]
    return rows


def _projected(name: str, run: Trained) -> dict[str, Any]:
    """Projected optimizers by their rates: those of the free run, or constant."""
    # Moments belong to gradients, which shrink as norms grow; SGD has none to rescale.
    keeping = keeping_moments(FREE_SCALES)
    chosen = keeping if name == "sgd" else FREE_SCALES
    return {
        "replayed": replay(name, recorded(run.norms), chosen),
        "constant": projection.project(OPTIMIZERS[name][0](), keeping),
    }
