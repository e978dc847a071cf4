"""An environment of pure functions as N environments like any others, alone or in a sequence."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from envs import base, saved_settings, turns
from envs.functional import contract

_LAST = int(dm_env.StepType.LAST)
_FIELDS = ("step_type", "reward", "discount", "observation")


class FunctionalVector(base.VectorEnvironment):
    """N environments, stepped by one compiled function; all of their state is in arrays.

    Attributes:
      name: for messages.
      dynamics: of every task.
      parameters: of the task that is played.
      running: contract.Running with a leading axis [N].
    """

    frames_per_step = 1
    exact_resume = True

    def __init__(
        self,
        name: str,
        chosen: Any,
        dynamics: contract.Dynamics,
        tasks: Callable[[int], Any],
        num_envs: int,
        seed: int,
        is_sequence: bool = False,
    ):
        """Environment i draws from (seed, i).

        Args:
          name: for messages.
          chosen: the settings, to tell states of other environments.
          dynamics: of every task.
          tasks: (number, from 0) -> parameters of that task.
          num_envs: N.
          seed: of all draws.
          is_sequence: whether there is more than one task.
        """
        self.num_envs, self.dynamics, self.task = num_envs, dynamics, 0
        self.name, self._tasks, self._is_sequence = name, tasks, is_sequence
        self._settings = {**dataclasses.asdict(chosen), "num_envs": num_envs, "seed": seed}
        self._turns = turns.Turns(num_envs, dynamics.num_actions)
        self._actions = np.zeros(num_envs, np.int32)
        self._finished: list[base.Episode] = []
        self.parameters = tasks(0)
        keys = [jax.random.key(base.environment_seed(seed, i)) for i in range(num_envs)]
        over_envs = lambda f: jax.jit(jax.vmap(f, in_axes=(None, 0)))  # noqa: E731
        start = lambda *x: contract.start(dynamics, *x)  # noqa: E731
        begun = over_envs(start)(self.parameters, jnp.stack(keys))
        self._restart = over_envs(lambda *x: contract.restart(dynamics, *x))
        self._advance = jax.jit(
            jax.vmap(lambda *x: contract.advance(dynamics, *x), in_axes=(None, 0, 0))
        )
        self._is_new = True
        self._timestep = self.go_to(*begun)

    def observation_spec(self) -> specs.Array:
        """Of the dynamics."""
        return self.dynamics.observation_spec

    def action_spec(self) -> specs.DiscreteArray:
        """Of the dynamics."""
        return specs.DiscreteArray(self.dynamics.num_actions, np.int32, name="action")

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode in every environment."""
        self._turns.start()
        if not self._is_new:
            self.go_to(*self._restart(self.parameters, self.running))
        self._is_new = False
        return self._timestep

    def send(self, actions: np.ndarray) -> None:
        """Stores the actions for `recv`."""
        self._actions = self._turns.send(actions)

    def recv(self) -> dm_env.TimeStep:
        """Computes the step."""
        self._turns.recv()
        timestep = self.go_to(*self._advance(self.parameters, self.running, self._actions))
        ended = np.flatnonzero(timestep.step_type == _LAST)
        if len(ended):
            returns = np.asarray(self.running.episode_return)
            lengths = np.asarray(self.running.episode_steps)
            self._finished += [
                base.Episode(int(i), float(returns[i]), int(lengths[i])) for i in ended
            ]
        return timestep

    def go_to(self, running: contract.Running, output: contract.Output) -> dm_env.TimeStep:
        """Goes on from where steps made elsewhere have led; who made them has their episodes."""
        self.running, self._is_leaving = running, False
        found: Any = jax.device_get(output)
        self._timestep = base.make_timestep(
            self.name,
            found.observation,
            found.reward,
            terminated=found.is_terminal,
            truncated=found.is_truncated,
            is_first=found.is_first,
        )
        return self._timestep

    def finished_episodes(self) -> list[base.Episode]:
        """See the base class."""
        episodes, self._finished = self._finished, []
        return episodes

    def check_ready(self, call: str) -> None:
        """See the base class."""
        self._turns.check_ready(call)

    def next_task(self) -> dm_env.TimeStep:
        """See the base class."""
        if not self._is_sequence:
            return super().next_task()
        self._turns.check_ready("next_task")
        if self._is_leaving:
            raise RuntimeError("next_task twice without a step between")
        self._is_leaving = True
        self.task += 1
        self.parameters = self._tasks(self.task)
        self.running = self.running._replace(is_last=jnp.ones(self.num_envs, bool))
        is_first = self._timestep.first()
        self._timestep = self._timestep._replace(
            step_type=np.full(self.num_envs, _LAST, np.int32),
            discount=np.where(is_first, np.float32(1), self._timestep.discount),
        )
        return self._timestep

    def get_state(self) -> dict[str, np.ndarray]:
        """See the base class."""
        self._turns.check_ready("get_state")
        leaves = jax.tree.leaves(_without_key(self.running))
        return {
            "settings": saved_settings.encode(self._settings),
            "task": np.array(self.task),
            "is_leaving": np.array(self._is_leaving),
            "finished": np.array(self._finished, np.float64).reshape(-1, 3),
            **{f"running_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)},
            **{name: np.array(getattr(self._timestep, name)) for name in _FIELDS},
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> dm_env.TimeStep:
        """See the base class."""
        saved_settings.check_equal(state["settings"], self._settings)
        self._turns.start()
        self._is_new = False
        self.task = int(state["task"])
        self._is_leaving = bool(state["is_leaving"])
        self.parameters = self._tasks(self.task)
        structure = jax.tree.structure(_without_key(self.running))
        leaves = [jnp.asarray(state[f"running_{i}"]) for i in range(structure.num_leaves)]
        running = jax.tree.unflatten(structure, leaves)
        self.running = running._replace(rng=jax.random.wrap_key_data(running.rng))
        rows = state["finished"].tolist()
        self._finished = [base.Episode(int(i), r, int(length)) for i, r, length in rows]
        self._timestep = dm_env.TimeStep(**{name: np.array(state[name]) for name in _FIELDS})
        return self._timestep

    def close(self) -> None:
        """See the base class."""
        self._turns.close()


def single(
    task_name: Callable[[Any], str],
    dynamics: Callable[[Any], contract.Dynamics],
    parameters_of: Callable[[Any], Any],
    chosen: Any,
    num_envs: int,
    seed: int,
) -> FunctionalVector:
    """The environments of one task: what most modules' `make` returns.

    Args:
      task_name: the module's.
      dynamics: the module's.
      parameters_of: the module's.
      chosen: the parsed section.
      num_envs: N.
      seed: of all draws.
    """
    parameters = lambda number: parameters_of(chosen)  # noqa: E731
    return FunctionalVector(task_name(chosen), chosen, dynamics(chosen), parameters, num_envs, seed)


def frames_per_step(chosen: Any) -> int:
    """Of every environment of pure functions 1: there is no emulator."""
    del chosen
    return FunctionalVector.frames_per_step


def _without_key(running: contract.Running) -> contract.Running:
    """The same with the key as numbers."""
    return running._replace(rng=jax.random.key_data(running.rng))
