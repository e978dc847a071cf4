"""C51 (Bellemare et al. 2017) as in DQN Zoo: a categorical distribution of the return.

Its loss is Rainbow's, where the target network chooses the action itself (`double` for Rainbow's
way), and it explores as DQN does.
"""

import dataclasses

from agents import base, exploration, optimizers, q_learning, rainbow
from agents import passes as passes_lib
from core import checks, settings
from networks import value_network
from networks.heads import c51

NetworkSettings = value_network.Settings
OptimizerSettings = optimizers.Settings


@dataclasses.dataclass(frozen=True)
class Settings(c51.SupportSettings):
    """The section `agent`."""

    module: str = settings.key("c51", checks.one_of("c51"), "this agent")
    double: bool = settings.key(
        False, checks.boolean(), "whether the online network chooses the target's action", "DQN Zoo"
    )
    epsilon: exploration.EpsilonSettings = settings.section(exploration.EpsilonSettings)


def make(sections: base.Sections, problem: base.Problem) -> base.Agent:
    """Builds C51; see agents.base.make."""
    agent = sections.agent
    fixed = agent.fixed() if sections.has_few_kernels else None
    read = (fixed or agent).distribution
    network = q_learning.make_network(sections, problem, agent.num_atoms, read)
    passes = passes_lib.make(network.init, network.apply, sections, problem)
    loss = rainbow.make_loss(passes, agent, fixed, sections.has_pallas)
    return q_learning.make_agent(network, loss, sections, problem)
