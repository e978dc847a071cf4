"""What a run forgets when its environment goes to the next task."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from core import checks
from training.learning import learner as learner_lib
from training.learning import optimizer, seeds
from training.learning import update as update_lib

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
        settings, replay = self.settings, state.replay
        rng, rng_params = jax.random.split(state.rng)
        if settings.clear_replay:
            replay = self.learner.replay.clear(replay)
        importance_start = state.importance_start
        if settings.restart_importance:
            importance_start = self.learner.replay.num_added(replay)
        before = learner_lib.trained(state)
        after = switch_trained(settings, self.learner.update, before, rng_params, state.stack)
        return state._replace(
            **after._asdict(), rng=rng, replay=replay, importance_start=importance_start
        )


def switch_trained(
    settings: SwitchSettings,
    update: update_lib.Update,
    trained: update_lib.Trained,
    rng: jax.Array,
    stack: jax.Array,
) -> update_lib.Trained:
    """What was trained, as the next task begins with it.

    Args:
      settings: what to do.
      update: of the agent.
      trained: as the last task left it.
      rng: of new parameters.
      stack: observations [B, ...], for the shape of new parameters.
    """
    params, target_params = trained.params, trained.target_params
    if settings.reset_params:
        params = update.init_params(rng, stack)
    if settings.reset_target:
        target_params = jax.tree.map(jnp.copy, params)
    opt_state = _optimizer_state(settings, trained.opt_state, update.optimizer.init(params))
    return trained._replace(params=params, target_params=target_params, opt_state=opt_state)


def _optimizer_state(settings: SwitchSettings, opt_state: Any, fresh: Any) -> Any:
    if settings.reset_params:
        opt_state = optimizer.reset_projection(opt_state, fresh)
    if settings.reset_optimizer:
        opt_state = optimizer.reset_moments(opt_state, fresh)
    if settings.restart_schedule:
        opt_state = optimizer.restart_schedule(opt_state, fresh)
    return opt_state
