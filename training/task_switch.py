"""What a run forgets when its environment goes to the next task."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from configs import checks
from training import learner as learner_lib
from training import optimizer, seeds

State = learner_lib.LearnerState


@dataclasses.dataclass(frozen=True)
class SwitchSettings:
    """What happens at the beginning of every task but the first.

    Attributes:
      reset_params: new parameters, and spheres of their norms: the freshly initialized control
        that plasticity is measured against.
      reset_target: the target network becomes a copy of the parameters.
      reset_optimizer: the moments, and the count of their bias correction, begin anew.
      restart_schedule: the learning-rate schedule begins anew.
      clear_replay: the transitions are dropped; learning waits for replay.min_size new ones.
      restart_importance: the exponent of the importance weights begins its rise anew.
    """

    reset_params: bool = False
    reset_target: bool = False
    reset_optimizer: bool = False
    restart_schedule: bool = False
    clear_replay: bool = False
    restart_importance: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "SwitchSettings":
        """Builds it from the section `task_switch`; raises ConfigError for a bad value."""
        names = (field.name for field in dataclasses.fields(cls))
        checks.verify("task_switch", config, dict.fromkeys(names, checks.boolean()))
        return cls(**config)


@dataclasses.dataclass(frozen=True, eq=False)
class TaskSwitch:
    """Carries out the settings on a learner's state.

    Attributes:
      learner: whose state it is.
      settings: what to do.
    """

    learner: learner_lib.Learner
    settings: SwitchSettings

    @functools.cached_property
    def apply(self):
        """(state) -> the state a task begins with. Jitted; takes the state's memory."""
        axes = self.learner.axes
        mapped = seeds.over_seeds(self._apply, self.learner.num_seeds, (axes,), axes)
        return jax.jit(mapped, donate_argnums=0)

    def _apply(self, state: State) -> State:
        settings, learner = self.settings, self.learner
        rng, rng_params = jax.random.split(state.rng)
        params, target_params, replay = state.params, state.target_params, state.replay
        if settings.reset_params:
            params = learner.init_params(rng_params, state.stack)
        if settings.reset_target:
            target_params = jax.tree.map(jnp.copy, params)
        if settings.clear_replay:
            replay = learner.replay.clear(replay)
        importance_start = state.importance_start
        if settings.restart_importance:
            importance_start = learner.replay.num_added(replay)
        return state._replace(
            params=params,
            target_params=target_params,
            opt_state=self._optimizer_state(state.opt_state, params),
            rng=rng,
            replay=replay,
            importance_start=importance_start,
        )

    def _optimizer_state(self, opt_state: Any, params: Any) -> Any:
        fresh = self.learner.optimizer.init(params)
        if self.settings.reset_params:
            opt_state = optimizer.reset_projection(opt_state, fresh)
        if self.settings.reset_optimizer:
            opt_state = optimizer.reset_moments(opt_state, fresh)
        if self.settings.restart_schedule:
            opt_state = optimizer.restart_schedule(opt_state, fresh)
        return opt_state
