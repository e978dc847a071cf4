"""What a run forgets when its environment goes to the next task."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from agents import base as agents_base
from core import checks, settings
from training.learning import replay_learner, seeds

State = replay_learner.LearnerState


@dataclasses.dataclass(frozen=True)
class SwitchSettings:
    """What happens at the beginning of every task but the first: the section `task_switch`."""

    reset_params: bool = settings.key(
        False,
        checks.boolean(),
        "new parameters, spheres of their norms, and states of interventions: the freshly "
        "initialized control that plasticity is measured against",
    )
    reset_target: bool = settings.key(
        False, checks.boolean(), "the target network becomes a copy of the parameters"
    )
    reset_optimizer: bool = settings.key(
        False,
        checks.boolean(),
        "the moments and the count of their bias correction begin anew",
    )
    restart_schedule: bool = settings.key(
        False, checks.boolean(), "the learning-rate schedule begins anew"
    )
    clear_replay: bool = settings.key(
        False,
        checks.boolean(),
        "the transitions are dropped; learning waits for replay.min_size new ones",
    )
    restart_importance: bool = settings.key(
        False, checks.boolean(), "the exponent of the importance weights begins its rise anew"
    )
    restart_exploration: bool = settings.key(
        False, checks.boolean(), "a decay of agent.epsilon begins anew"
    )

    @property
    def forget(self) -> agents_base.Forget:
        """What the agent's state forgets."""
        return agents_base.Forget(
            params=self.reset_params,
            target=self.reset_target,
            moments=self.reset_optimizer,
            schedule=self.restart_schedule,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class TaskSwitch:
    """Carries out the settings on a learner's state.

    Attributes:
      learner: whose state it is.
      settings: what to do.
    """

    learner: replay_learner.Learner
    settings: SwitchSettings

    @functools.cached_property
    def apply(self):
        """(state) -> the state a task begins with. Jitted; donates the state."""
        axes = self.learner.axes
        mapped = seeds.over_seeds(self._apply, self.learner.num_seeds, (axes,), axes)
        return jax.jit(mapped, donate_argnums=0)

    def _apply(self, state: State) -> State:
        replay = state.replay
        rng, rng_params = jax.random.split(state.rng)
        if self.settings.clear_replay:
            replay = self.learner.replay.clear(replay)
        importance_start = state.importance_start
        if self.settings.restart_importance:
            importance_start = self.learner.replay.num_added(replay)
        agent, packed = self.learner.agent, self.learner.packed
        fresh = agent.init(rng_params, state.stack)
        train = agent.forget(packed.unpack(state.train), fresh, self.settings.forget)
        return state._replace(
            train=packed.pack(train),
            rng=rng,
            replay=replay,
            importance_start=importance_start,
            steps=jnp.zeros_like(state.steps) if self.settings.restart_exploration else state.steps,
        )
