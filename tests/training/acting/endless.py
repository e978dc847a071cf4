"""An environment whose episodes never end, of an id such as "endless:Endless-v0"."""

import gymnasium
import numpy as np
from gymnasium import spaces


class Endless(gymnasium.Env):
    """Every step is worth 1."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 1.0, False, False, {}


gymnasium.register("Endless-v0", Endless)
