"""The probe: how well a network still learns something new, against a fresh one.

The outcome that metrics are to predict. A network is fitted to targets that lie around its own
outputs, so that its first loss is the same at any moment of training, with a fresh optimizer and a
fixed budget (Lyle et al. 2023, arXiv 2303.01486).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

Values = Callable[[Any, jax.Array], jax.Array]
"""(params, inputs [B, ...]) -> outputs [B, K]."""

Task = Literal["regression", "labels"]
TASKS: tuple[Task, ...] = ("regression", "labels")


@dataclasses.dataclass(frozen=True)
class Budget:
    """What each network is given.

    Attributes:
      num_updates: of Adam.
      batch_size: inputs in each, drawn with replacement.
      learning_rate: of Adam, the same for all.
    """

    num_updates: int = 2_000
    batch_size: int = 256
    learning_rate: float = 1e-3


class Fit(NamedTuple):
    """Of a network that was fitted.

    Attributes:
      mean_loss: over the updates, each before it is made.
      final_loss: on all inputs, after them.
    """

    mean_loss: jax.Array
    final_loss: jax.Array


def fit(
    values: Values,
    params: Any,
    inputs: jax.Array,
    task: Task,
    rng: jax.Array,
    budget: Budget,
    of_learning: Callable[[Any, Any], Any] = lambda grads, params: grads,
) -> Fit:
    """Fits a network to new targets for its inputs.

    regression: its outputs plus noise of N(0, 1), squared errors; 1 at first. labels: a random bit
    for each output, cross-entropies of the outputs' changes as logits; log 2 at first.

    Args:
      values: the network.
      params: where it begins.
      inputs: [N, ...].
      task: what it is to learn.
      rng: of targets and batches; the same gives two networks the same ones.
      budget: how long it may learn.
      of_learning: (gradients, params) -> gradients with 0 for parameters that do not learn.
    """
    rng_targets, rng_batches = jax.random.split(rng)
    before = jax.lax.stop_gradient(values(params, inputs))
    targets = _targets(before, task, rng_targets)

    def loss(params, chosen):
        changes = values(params, inputs[chosen]) - before[chosen]
        return jnp.mean(_losses(changes, targets[chosen], task))

    optimizer = optax.adam(budget.learning_rate)

    def update(state, rng):
        params, opt_state = state
        chosen = jax.random.randint(rng, (budget.batch_size,), 0, inputs.shape[0])
        value, grads = jax.value_and_grad(loss)(params, chosen)
        updates, opt_state = optimizer.update(of_learning(grads, params), opt_state)
        return (optax.apply_updates(params, updates), opt_state), value

    start = (params, optimizer.init(params))
    keys = jax.random.split(rng_batches, budget.num_updates)
    (params, _), losses = jax.lax.scan(update, start, keys)
    of_all = _losses(values(params, inputs) - before, targets, task)
    return Fit(jnp.mean(losses), jnp.mean(of_all))


def _targets(outputs: jax.Array, task: Task, rng: jax.Array) -> jax.Array:
    if task == "regression":
        return jax.random.normal(rng, outputs.shape, outputs.dtype)
    return jax.random.bernoulli(rng, shape=outputs.shape).astype(outputs.dtype)


def _losses(changes: jax.Array, targets: jax.Array, task: Task) -> jax.Array:
    """Of changes of the outputs [B, K] and the targets for them."""
    if task == "regression":
        return jnp.square(changes - targets)
    return optax.sigmoid_binary_cross_entropy(changes, targets)
