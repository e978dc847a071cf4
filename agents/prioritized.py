"""Prioritized DQN (Schaul et al. 2016) as in DQN Zoo: Double DQN with the prioritized replay.

The replay draws transitions by their absolute errors, which Double DQN gives it, and weighs them;
each weight is of the loss, whose gradient is clipped before.
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
