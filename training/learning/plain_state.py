"""A learner's state as files, evaluations and other learners have it: not packed."""

from collections.abc import Callable
from typing import Any

import jax

from core import types
from training.learning import replay_learner, seeds

State = replay_learner.LearnerState


def plain(learner: replay_learner.Learner, state: State) -> State:
    """The learner's state with its `train` unpacked."""
    return state._replace(train=_map_seeds(learner, learner.packed.unpack)(state.train))


def params(learner: replay_learner.Learner, state: State) -> Any:
    """The networks' parameters, with an axis of seeds in front."""
    return plain(learner, state).train.params


def packed(learner: replay_learner.Learner, state: State) -> State:
    """The inverse of `plain`."""
    return state._replace(train=_map_seeds(learner, learner.packed.pack)(state.train))


def _map_seeds(
    learner: replay_learner.Learner, function: Callable[[types.TrainState], types.TrainState]
) -> Callable[[types.TrainState], types.TrainState]:
    if learner.agent.packed is None:
        return function
    axes = learner.axes.train
    return jax.jit(seeds.over_seeds(function, learner.num_seeds, (axes,), axes))
