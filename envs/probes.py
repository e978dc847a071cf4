"""Five tiny environments, each of which reveals one fault of a learner within seconds.

After Andy Jones, "Debugging RL, Without the Agonizing Pain" (2021,
andyljones.com/posts/rl-debugging.html). If an agent learns one but not the next, the fault is in
what was added:

1. constant observation, one action, one step, reward 1: is the value learned at all?
2. observation -1 or +1, reward = observation: does the value depend on the observation?
3. two steps, observation 0 then 1, reward 1 at the end: is the reward discounted back? With a
   discount of gamma per step the values are gamma and 1.
4. two actions, reward -1 for the first and +1 for the second: does the policy improve?
5. observation -1 or +1, two actions, reward +1 if the action matches (1 for +1, 0 for -1), else
   -1: does the policy depend on the observation?
"""

import dataclasses
from collections.abc import Callable, Mapping

import dm_env
import numpy as np
from dm_env import specs

from core import checks, settings
from envs import base, episodes, random_bits, saved_settings, turns


@dataclasses.dataclass(frozen=True)
class Probe:
    """One probe; both functions take arrays [N]."""

    num_actions: int
    episode_steps: int
    observe: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(steps since the FIRST, the episode's random sign) -> observation."""
    reward: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(action, the episode's random sign) -> reward of the episode's last step."""


def _one(action, sign):
    del sign
    return np.ones_like(action)


def _constant(step, sign):
    del sign
    return np.ones_like(step)


def _sign(step_or_action, sign):
    del step_or_action
    return sign


def _step(step, sign):
    del sign
    return np.minimum(step, 1)


def _action_sign(action, sign):
    del sign
    return 2 * action - 1


def _match(action, sign):
    return (2 * action - 1) * sign


PROBES = {
    1: Probe(1, 1, observe=_constant, reward=_one),
    2: Probe(1, 1, observe=_sign, reward=_sign),
    3: Probe(1, 2, observe=_step, reward=_one),
    4: Probe(2, 1, observe=_constant, reward=_action_sign),
    5: Probe(2, 1, observe=_sign, reward=_match),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment` of a test on a probe."""

    module: str = settings.key("probes", checks.one_of("probes"), "this environment")
    probe: int = settings.key(
        1, checks.one_of(*PROBES), "as numbered in envs/probes.py", "the order of Jones's article"
    )


def make(chosen: Settings, num_envs: int, seed: int) -> "ProbeEnvironment":
    """Builds the environment; see `envs.base.make`."""
    return ProbeEnvironment(chosen.probe, num_envs, seed)


def frames_per_step(chosen: Settings) -> int:
    """1: there is no emulator."""
    del chosen
    return ProbeEnvironment.frames_per_step


def task_name(chosen: Settings) -> str:
    """The probe's number."""
    return str(chosen.probe)


class ProbeEnvironment(base.VectorEnvironment):
    """N environments of one probe. Observations are float32 [1]; the LAST repeats the previous one.

    The work is done in `recv`. All of the state is in arrays, so that resuming is exact.
    """

    frames_per_step = 1
    exact_resume = True

    def __init__(self, number: int, num_envs: int, seed: int):
        """Environment i draws the signs of its episodes from (seed, i)."""
        self.num_envs = num_envs
        self._probe = PROBES[number]
        self._name = str(number)
        self._settings = {"probe": number, "num_envs": num_envs, "seed": seed}
        self._environment_keys = np.array(
            [base.environment_seed(seed, i) for i in range(num_envs)], np.uint64
        )
        self._turns = turns.Turns(num_envs, self._probe.num_actions)
        self._recorder = episodes.EpisodeRecorder(num_envs, self.frames_per_step)
        self._actions = np.zeros(num_envs, np.int32)
        self._episode_counts = np.zeros(num_envs, np.uint64)
        self._steps = np.zeros(num_envs, np.int64)
        self._timestep: dm_env.TimeStep

    def observation_spec(self) -> specs.BoundedArray:
        """float32 [1] in [-1, 1]."""
        return specs.BoundedArray((1,), np.float32, -1.0, 1.0, name="observation")

    def action_spec(self) -> specs.DiscreteArray:
        """One or two actions."""
        return specs.DiscreteArray(self._probe.num_actions, np.int32, name="action")

    def reset(self) -> dm_env.TimeStep:
        """Starts the next episode in every environment."""
        self._turns.start()
        self._recorder.abandon()
        self._begin_episodes(np.ones(self.num_envs, bool))
        self._timestep = self._make_timestep(np.zeros(self.num_envs, np.int32))
        return self._timestep

    def send(self, actions: np.ndarray) -> None:
        """Stores the actions for `recv`."""
        self._actions = self._turns.send(actions)

    def recv(self) -> dm_env.TimeStep:
        """Computes the step."""
        self._turns.recv()
        self._steps += 1
        self._begin_episodes(self._timestep.step_type == dm_env.StepType.LAST)
        self._timestep = self._make_timestep(self._actions)
        self._recorder.record(self._timestep)
        return self._timestep

    def finished_episodes(self) -> list[base.Episode]:
        """See the base class."""
        return self._recorder.finished()

    def check_ready(self, call: str) -> None:
        """See the base class."""
        self._turns.check_ready(call)

    def get_state(self) -> dict[str, np.ndarray]:
        """See the base class."""
        self._turns.check_ready("get_state")
        return {
            "settings": saved_settings.encode(self._settings),
            "episode_counts": self._episode_counts.copy(),
            "steps": self._steps.copy(),
            **{name: array.copy() for name, array in self._timestep._asdict().items()},
            **self._recorder.get_state(),
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> dm_env.TimeStep:
        """See the base class."""
        saved_settings.check_equal(state["settings"], self._settings)
        self._turns.start()
        self._episode_counts[:] = state["episode_counts"]
        self._steps[:] = state["steps"]
        self._recorder.set_state(state)
        self._timestep = dm_env.TimeStep(*(state[name].copy() for name in dm_env.TimeStep._fields))
        return self._timestep

    def close(self) -> None:
        """See the base class."""
        self._turns.close()

    def _begin_episodes(self, env_ids: np.ndarray) -> None:
        self._steps[env_ids] = 0
        self._episode_counts[env_ids] += np.uint64(1)

    def _make_timestep(self, actions: np.ndarray) -> dm_env.TimeStep:
        """The step that these actions lead to, in environments whose counts are up to date."""
        sign = _random_sign(self._environment_keys, self._episode_counts)
        is_first = self._steps == 0
        is_last = self._steps == self._probe.episode_steps
        observed_step = np.minimum(self._steps, self._probe.episode_steps - 1)
        observation = self._probe.observe(observed_step, sign)
        return base.make_timestep(
            self._name,
            observation.astype(np.float32)[:, None],
            np.where(is_last, self._probe.reward(actions, sign), 0),
            terminated=is_last,
            truncated=False,
            is_first=is_first,
        )


def _random_sign(keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """-1 or +1 for each episode: the top bit of a hash."""
    return 2 * (random_bits.bits(keys, counts) >> np.uint64(63)).astype(np.int64) - 1
