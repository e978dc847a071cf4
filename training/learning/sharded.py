"""Updates on batches that come from elsewhere, each spread over several devices."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from core import checks
from replay import base as replay_base
from training.learning import update as update_lib
from training.system import platform


class State(NamedTuple):
    """What the updates change: as update.Trained, and the random numbers' key.

    Attributes:
      params, target_params: of the network.
      opt_state: the optimizer's.
      updates: int32 [], how many were done.
      rng: a typed key.
    """

    params: Any
    target_params: Any
    opt_state: Any
    updates: jax.Array
    rng: jax.Array

    @property
    def trained(self) -> update_lib.Trained:
        """All but the key."""
        return update_lib.Trained(*self[:4])


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

    The result is that of one device, but for the order of sums.

    Attributes:
      update: of the agent.
      importance: the exponent of the importance weights.
      devices: D of them.
    """

    update: update_lib.Update
    importance: update_lib.ImportanceSchedule
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

    def init(self, seed: int, stack: Any) -> State:
        """The state of a new agent; `stack` are observations [1, ...], for their shape."""

        def init(stack: jax.Array) -> State:
            rng_params, rng = jax.random.split(jax.random.key(seed))
            return State(*self.update.init(rng_params, stack), rng)

        return jax.jit(init, out_shardings=self._replicated)(stack)

    def put(self, tree: Any) -> Any:
        """A state, or a part of it, on all devices."""
        return jax.device_put(tree, self._replicated)

    def put_batch(self, transition: Any, probabilities: Any) -> Batch:
        """A batch, each device with its share; B is a multiple of D."""
        return jax.device_put(Batch(transition, probabilities), self._split)

    @functools.cached_property
    def learn(self):
        """(state, Batch, steps) -> state, priorities [B], metrics [1]. Jitted; takes the memory.

        `steps` are those added to the replay since the importance schedule began.
        """
        options = platform.compiler_options()
        # jax 0.4's jit has no such argument.
        more: dict[str, Any] = {"compiler_options": options} if options else {}
        return jax.jit(
            self._learn,
            in_shardings=(self._replicated, self._split, self._replicated),
            out_shardings=self._replicated,
            donate_argnums=0,
            **more,
        )

    def _learn(
        self, state: State, batch: Batch, steps: jax.Array
    ) -> tuple[State, jax.Array, update_lib.Metrics]:
        rng, rng_loss = jax.random.split(state.rng)
        weights = self._weights(batch, steps)
        trained, priorities, metrics = self.update(
            state.trained, rng_loss, batch.transition, weights
        )
        return State(*trained, rng), priorities, jax.tree.map(lambda x: x[None], metrics)

    @functools.cached_property
    def measure(self):
        """(state, Batch, steps) -> {quantity: {layer: []}}, as Update.measure. Jitted."""
        return jax.jit(
            self._measure,
            in_shardings=(self._replicated, self._split, self._replicated),
            out_shardings=self._replicated,
        )

    def _measure(
        self, state: State, batch: Batch, steps: jax.Array
    ) -> Mapping[str, update_lib.Metrics]:
        weights = self._weights(batch, steps)
        rng = jax.random.fold_in(state.rng, 0)
        return self.update.measure(state.trained, rng, batch.transition, weights)

    def _weights(self, batch: Batch, steps: jax.Array) -> jax.Array:
        chex.assert_rank([batch.probabilities, steps], [1, 0])
        return update_lib.importance_weights(batch.probabilities, self.importance(steps))

    def metric_names(self, state: State, batch: Batch) -> list[str]:
        """The names of the metrics that `learn` returns, by shapes alone."""
        steps = jax.ShapeDtypeStruct((), np.int32)
        return list(jax.eval_shape(self._learn, state, batch, steps)[2])


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
      ConfigError: there are not so many, or they can't share a batch evenly.
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
