"""The agent that the learner trains, and the last batch that it has seen."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from replay.reverb.sampling import batches
from training.learning import sharded, task_switching


class TrainedAgent:
    """A state on the devices, and what changes it.

    Attributes:
      state: of the agent, after `init` or `restore`.
      newest: the batch of the last update; None if the replay may have changed since.
    """

    state: sharded.ShardedState

    def __init__(
        self,
        update: sharded.ShardedUpdate,
        switch: task_switching.SwitchSettings,
        seed: int,
        stack: np.ndarray,
    ):
        """There is no state yet.

        Args:
          update: of the agent.
          switch: what happens at the beginning of a task.
          seed: of new parameters.
          stack: observations [1, ...], for the shape of new parameters.
        """
        self._update = update
        self._switch = switch
        self._seed = seed
        self._stack: Any = stack
        self.newest: batches.DrawnBatch | None = None

    def init(self) -> None:
        """Begins with new parameters."""
        self.state = self.new_state()

    def restore(self, state: Any) -> None:
        """Continues with a state of the shapes of `new_state`."""
        self.state = self._update.put(state)

    def new_state(self) -> sharded.ShardedState:
        """The state of a new agent."""
        return self._update.init(self._seed, self._stack)

    def metric_names(self, batch: sharded.Batch) -> list[str]:
        """The names of the updates' metrics; `batch` has a batch's shapes."""
        return self._update.metric_names(jax.eval_shape(self.new_state), batch)

    def learn(self, batch: batches.DrawnBatch, importance_steps: np.ndarray) -> tuple[Any, Any]:
        """Does an update; returns new priorities [B] or None, and metrics, maybe not ready yet.

        Args:
          batch: to learn from.
          importance_steps: steps added since the importance schedule began, int32 [].
        """
        on_device = self._update.put_batch(batch.transition, batch.probabilities)
        self.state, new_priorities, metrics = self._update.learn(
            self.state, on_device, importance_steps
        )
        self.newest = batch
        return new_priorities, metrics

    def measure(self, importance_steps: np.ndarray) -> Any:
        """{quantity: {layer: []}} with the newest batch; None if there is none."""
        if self.newest is None:
            return None
        on_device = self._update.put_batch(self.newest.transition, self.newest.probabilities)
        return self._update.measure(self.state, on_device, importance_steps)

    def copy_params(self) -> Any:
        """A copy of the parameters, unchanged by the next update."""
        return jax.tree.map(jnp.copy, self.state.train.params)

    def norms(self) -> Any:
        """The norms of the layers that are projected, or would be, scalars by name."""
        return self._update.agent.norms(self.state.train.params)

    def begin_task(self) -> None:
        """Changes the state as the beginning of a task requires."""
        rng, rng_params = jax.random.split(self.state.rng)
        agent = self._update.agent
        fresh = agent.init(rng_params, self._stack)
        train = agent.forget(self.state.train, fresh, self._switch.forget)
        self.state = self._update.put(sharded.ShardedState(train, rng))
        if self._switch.clear_replay:
            self.newest = None


def with_seed_axis(tree: Any) -> Any:
    """Adds a leading axis for the only seed, as the files of all runs have it."""
    return jax.tree.map(lambda x: x[None], tree)


def without_seed_axis(tree: Any) -> Any:
    """Removes that axis."""
    return jax.tree.map(lambda x: x[0], tree)


def shapes_with_seed_axis(agent: TrainedAgent) -> Any:
    """Shapes of the agent's state as files have it."""
    return jax.eval_shape(lambda: with_seed_axis(agent.new_state()))
