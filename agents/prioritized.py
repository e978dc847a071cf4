"""Prioritized DQN (Schaul et al. 2016) as in DQN Zoo: Double DQN with the prioritized replay.

The replay draws transitions by their absolute errors, which Double DQN gives it, and weighs them.
A weight is a factor of the loss; what is clipped to max_td_gradient is the gradient of the weighted
mean with respect to an error, so that with DQN Zoo's 1/32 and batches of 32 a weighted error counts
as 1 at most.
"""

import dataclasses

from agents import double_q
from core import checks, settings

NetworkSettings = double_q.NetworkSettings
OptimizerSettings = double_q.OptimizerSettings


@dataclasses.dataclass(frozen=True)
class Settings(double_q.Settings):
    """The section `agent`."""

    module: str = settings.key("prioritized", checks.one_of("prioritized"), "this agent")


make = double_q.make
