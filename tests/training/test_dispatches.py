"""What an iteration asks of the device: two calls, in which order, and what crosses to it."""

import jax
import numpy as np
import pytest

from configs import probe
from training import agent_loop, derived, experiment, run_settings
from training.logs import stage_timer

_SMALL = {
    "num_envs": 4,
    "num_frames": 400,
    "replay.min_size": 40,
    "replay.capacity": 200,
    "formulation": "few_kernels",
}


class _Fetched:
    """An array that tells when it is copied to the host."""

    def __init__(self, array, events):
        self._array, self._events = array, events

    def __array__(self, *arguments, **more):
        self._events.append("fetch")
        return np.asarray(self._array)


@pytest.fixture(scope="module")
def loop():
    """One that has begun to learn."""
    config = probe.get_config("1")
    config.update_from_flattened_dict(_SMALL)
    settings = run_settings.parse(derived.resolve(config))
    made = agent_loop.AgentLoop(settings, experiment.make(settings))
    made.begin()
    while not made.counts.counters["updates"]:
        made.iterate(stage_timer.StageTimer())
    yield made
    made.experiment.environment.close()


def _listen(loop, events, monkeypatch):
    """Notes the calls of an iteration, and how many arrays each gets from the host."""
    learner, environment = loop.experiment.learner, loop.experiment.environment
    observe, learn, send = learner.observe, learner.learn, environment.send

    def observed(state, seen):
        arrays = [x for x in jax.tree.leaves((state, seen)) if isinstance(x, np.ndarray)]
        events.append(("observe", len(arrays)))
        state, actions = observe(state, jax.device_put(seen))
        return state, _Fetched(actions, events)

    def learned(state, *static):
        arrays = [x for x in jax.tree.leaves(state) if isinstance(x, np.ndarray)]
        events.append(("learn", len(arrays)))
        return learn(state, *static)

    def sent(actions):
        events.append("send")
        send(actions)

    monkeypatch.setitem(vars(learner), "observe", observed)
    monkeypatch.setitem(vars(learner), "learn", learned)
    monkeypatch.setattr(environment, "send", sent)


def test_learning_is_dispatched_before_the_actions_are_fetched(loop, monkeypatch):
    """So a GPU has the updates to do while the actions travel and the emulators begin.

    The observations and one array of the rest go to the device, the actions come back, and nothing
    else.
    """
    events = []
    _listen(loop, events, monkeypatch)
    with jax.transfer_guard_host_to_device("disallow"):
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            jax.jit(lambda x: x + 1)(np.ones(3))
        loop.iterate(stage_timer.StageTimer())
    assert events == [("observe", 2), ("learn", 0), "fetch", "send"]


def test_few_arrays_cross_each_call(loop):
    """Each costs the host some microseconds; unpacked they would be a hundred."""
    assert len(jax.tree.leaves(loop.state)) == 29
