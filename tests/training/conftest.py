"""Small learners for tests: Rainbow on frames just large enough for its convolutions."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from dm_env import specs

from configs import modifiers, rainbow
from networks.torsos import mlp
from replay import base as replay_base
from training import derived, experiment, run_settings

SPECS = {
    "frames": specs.BoundedArray((36, 36), np.uint8, 0, 255),
    "vectors": specs.Array((5,), np.float32),
}
NUM_ACTIONS = 3

_SMALL = {
    "num_envs": 2,
    "agent.num_atoms": 9,
    "agent.v_max": 2.0,
    "network.head.hidden_size": 8,
    "replay.batch_size": 4,
    "replay.capacity": 80,
    "replay.min_size": 16,
}


class _SpecsOnly(NamedTuple):
    """What a learner needs to know of an environment."""

    observations: specs.Array
    frames_per_step: int = 4

    def observation_spec(self):
        return self.observations

    def action_spec(self):
        return specs.DiscreteArray(NUM_ACTIONS)


def make_small_learner(get_config=rainbow.get_config, changes=(), observations="frames"):
    """The Learner, assembled as in a run: with DQN's torso on "frames", a perceptron on "vectors".

    `changes` of the config are by dotted path.
    """
    config = get_config()
    config.update_from_flattened_dict({**_SMALL, **dict(changes)})
    if observations == "vectors":
        config.transition.frame_stack = 0
        modifiers.with_torso(config, mlp.Settings(hidden_sizes=(8,)))
    settings = run_settings.parse(derived.resolve(config))
    environment: Any = _SpecsOnly(SPECS[observations])
    return experiment._assemble(settings, environment).learner


@pytest.fixture(scope="session")
def make_learner():
    """(get_config, changes by dotted path, observations) -> the Learner."""
    return make_small_learner


@pytest.fixture(scope="session")
def random_steps():
    """(seed, num_steps, num_envs, spec) -> random replay steps, with random episode ends."""

    def steps(seed, num_steps, num_envs, spec=SPECS["frames"]):
        random = np.random.RandomState(seed)
        is_last = np.ones(num_envs, bool)
        for _ in range(num_steps):
            is_first = is_last
            is_last = (random.uniform(size=num_envs) < 0.1) & ~is_first
            discount = np.where(is_last, random.randint(2, size=num_envs), 1.0)
            observation = random.uniform(0, 256, (num_envs, *spec.shape))
            yield replay_base.Step(
                observation=observation.astype(spec.dtype),
                is_first=is_first,
                is_last=is_last,
                reward=np.where(is_first, 0, 3 * random.normal(size=num_envs)).astype(np.float32),
                discount=np.where(is_first, 0, discount).astype(np.float32),
                action=random.randint(NUM_ACTIONS, size=num_envs).astype(np.int32),
            )

    return steps


@pytest.fixture(scope="module")
def shared_learners():
    """Runs of one configuration in one file of tests share a learner, whose programs are kept.

    To trace and lower them again takes most of a short run.
    """
    learners, make = {}, experiment.make_learner

    def make_once(*arguments):
        key = repr(arguments)
        if key not in learners:
            learners[key] = make(*arguments)
        return learners[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "make_learner", make_once)
        yield
