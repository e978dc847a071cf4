"""Exploration: greedy actions, and uniform ones with a probability that may decay."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from core import checks, settings


@dataclasses.dataclass(frozen=True)
class EpsilonSettings:
    """How the probability of uniform actions falls: the section `agent.epsilon`."""

    begin: float = settings.key(
        1.0, checks.number(0, 1), "until `begin_steps`", "DQN Zoo plays at random before it learns"
    )
    end: float = settings.key(0.1, checks.number(0, 1), "after the decay", "DQN Zoo's DQN")
    begin_steps: int = settings.key(
        50_000,
        checks.integer(0),
        "agent steps, over all environments of a seed, until the decay begins",
        "DQN Zoo: the least size of its replay",
    )
    decay_steps: int = settings.key(
        1_000_000, checks.integer(1), "agent steps that the linear decay takes", "DQN Zoo: 2 %"
    )
    evaluation: float = settings.key(0.05, checks.number(0, 1), "in evaluations", "DQN Zoo's DQN")

    def at(self, steps: jax.Array, mode: str) -> jax.Array | float:
        """The probability after `steps` agent steps, float32 []."""
        if mode == "evaluation":
            return self.evaluation
        decay = optax.linear_schedule(self.begin, self.end, self.decay_steps, self.begin_steps)
        return jnp.asarray(decay(steps), jnp.float32)


def epsilon_greedy(rng: jax.Array, q_values: jax.Array, epsilon: jax.Array | float) -> jax.Array:
    """Greedy actions int32 [N], or uniform ones with probability epsilon per row.

    Ties go to the first action; rlax.epsilon_greedy draws among them.
    """
    greedy = jnp.argmax(q_values, axis=-1).astype(jnp.int32)
    if isinstance(epsilon, float) and epsilon == 0:
        return greedy
    rng_explore, rng_action = jax.random.split(rng)
    explore = jax.random.bernoulli(rng_explore, epsilon, greedy.shape)
    uniform = jax.random.randint(rng_action, greedy.shape, 0, q_values.shape[-1], jnp.int32)
    return jnp.where(explore, uniform, greedy)
