"""What the learner publishes, without a server."""

import types

import numpy as np
import pytest

from cluster.accounts import actor_accounts
from cluster.learning import announcements
from cluster.messages import publisher
from replay.reverb.sampling import priorities


class Publisher:
    """Keeps what it is given."""

    def __init__(self, connect):
        del connect
        self.parameters = []

    def set_parameters(self, parameters):
        self.parameters.append(parameters)


@pytest.fixture
def make(monkeypatch):
    monkeypatch.setattr(publisher, "Publisher", Publisher)
    role = types.SimpleNamespace(connect=None, distributed=types.SimpleNamespace(credit_frames=100))
    agent = types.SimpleNamespace(copy_params=lambda: np.zeros(2))
    counts = types.SimpleNamespace(counters={"frames": 12, "updates": 3, "task": 1})
    weights = priorities.SamplingWeights(0.5, 0.0)
    accounts = actor_accounts.ActorAccounts()
    return lambda: announcements.Announcements(role, agent, counts, accounts, weights, None)


def test_each_publication_is_told_from_all_others(make):
    """The counts are the same when a network was reset, and after a restart of the learner."""
    versions = set()
    for made in (make(), make()):
        assert made.version == -1
        for _ in range(2):
            made.publish_parameters()
            versions.add(made.version)
        assert [p.version for p in made._publisher.parameters][-1] == made.version
        assert {p.updates for p in made._publisher.parameters} == {3}
    assert len(versions) == 4
    assert all(0 <= version < 2**63 for version in versions)
