"""Updates on batches that come from elsewhere, each spread over several devices."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from agents import base as agents_base
from core import checks, types
from replay import base as replay_base
from training.learning import prioritizing as prioritizing_lib
from training.system import jax_platform


class ShardedState(NamedTuple):
    """What the updates change, and the random key.

    Attributes:
      train: of the agent.
      rng: a typed key.
    """

    train: types.TrainState
    rng: jax.Array


class Batch(NamedTuple):
    """A batch on the devices.

    Attributes:
      transition: [B, ...].
      probabilities: float32 [B], with which the transitions were drawn.
    """

    transition: replay_base.Transition
    probabilities: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class ShardedUpdate:
    """Each device computes its share of a batch; the state is the same on all of them.

    The result is that of one device up to summation order.

    Attributes:
      agent: the algorithm.
      prioritizing: of a replay with priorities, or None.
      devices: D of them.
    """

    agent: agents_base.Agent
    prioritizing: prioritizing_lib.Prioritizing | None
    devices: Sequence[Any]

    @functools.cached_property
    def _replicated(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec())

    @functools.cached_property
    def _split(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec("batch"))

    @functools.cached_property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), ("batch",))

    def init(self, seed: int, stack: Any) -> ShardedState:
        """The state of a new agent; `stack`: observations [1, ...], for their shape."""

        def init(stack: jax.Array) -> ShardedState:
            rng_params, rng = jax.random.split(jax.random.key(seed))
            return ShardedState(self.agent.init(rng_params, stack), rng)

        return jax.jit(init, out_shardings=self._replicated)(stack)

    def put(self, tree: Any) -> Any:
        """A state, or a part of it, on all devices."""
        return jax.device_put(tree, self._replicated)

    def put_batch(self, transition: Any, probabilities: Any) -> Batch:
        """A batch, split over the devices; B is a multiple of D."""
        return jax.device_put(Batch(transition, probabilities), self._split)

    @functools.cached_property
    def learn(self):
        """(state, Batch, steps) -> state, priorities, metrics [1]. Jitted; donates state.

        The priorities are float32 [B], or None without any; `steps` are those added to the replay
        since the importance schedule began.
        """
        return jax_platform.jit_updates(
            self._learn,
            in_shardings=(self._replicated, self._split, self._replicated),
            out_shardings=self._replicated,
            donate_argnums=0,
        )

    def _learn(
        self, state: ShardedState, batch: Batch, steps: jax.Array
    ) -> tuple[ShardedState, jax.Array | None, agents_base.Scalars]:
        rng, rng_loss = jax.random.split(state.rng)
        updated = prioritizing_lib.update(
            self.agent.update,
            self.prioritizing,
            state.train,
            rng_loss,
            batch.transition,
            self._weights(batch, steps),
        )
        metrics = jax.tree.map(lambda x: x[None], updated.metrics)
        return ShardedState(updated.state, rng), updated.priorities, metrics

    @functools.cached_property
    def measure(self):
        """(state, Batch, steps) -> {quantity: {layer: []}}, as agents.base.Agent's. Jitted."""
        return jax.jit(
            self._measure,
            in_shardings=(self._replicated, self._split, self._replicated),
            out_shardings=self._replicated,
        )

    def _measure(
        self, state: ShardedState, batch: Batch, steps: jax.Array
    ) -> Mapping[str, agents_base.Scalars]:
        weights = self._weights(batch, steps)
        rng = agents_base.apart(state.rng, 0)
        return self.agent.measure(state.train, rng, batch.transition, weights)

    def _weights(self, batch: Batch, steps: jax.Array) -> jax.Array:
        chex.assert_rank([batch.probabilities, steps], [1, 0])
        return prioritizing_lib.weigh(self.prioritizing, batch.probabilities, steps)

    def metric_names(self, state: ShardedState, batch: Batch) -> list[str]:
        """The names of the metrics `learn` returns, from shapes alone."""
        steps = jax.ShapeDtypeStruct((), np.int32)
        return list(self.learn.eval_shape(state, batch, steps)[2])


def batch_shapes(observation_shape: Sequence[int], dtype: Any) -> Batch:
    """A batch's shapes and types; `observation_shape` is [B, ...]."""
    observation: Any = jax.ShapeDtypeStruct(tuple(observation_shape), np.dtype(dtype))
    scalar: Any = jax.ShapeDtypeStruct(tuple(observation_shape[:1]), np.float32)
    action: Any = jax.ShapeDtypeStruct(scalar.shape, np.int32)
    transition = replay_base.Transition(observation, action, scalar, scalar, observation)
    return Batch(transition, scalar)


def choose_devices(count: int, batch_size: int) -> list[Any]:
    """The first `count` of this process's devices; as many as can share a batch if it is 0.

    Raises:
      ConfigError: there are fewer, or they can't share a batch evenly.
    """
    found = jax.local_devices()
    if count > len(found):
        raise checks.ConfigError(
            f"distributed.learner_devices = {count}: expected at most {len(found)}, as many as "
            "there are"
        )
    if not count:
        count = max(n for n in range(1, len(found) + 1) if batch_size % n == 0)
    if batch_size % count:
        raise checks.ConfigError(
            f"replay.batch_size = {batch_size}: expected a multiple of the {count} devices that "
            "share a batch (distributed.learner_devices)"
        )
    return found[:count]
