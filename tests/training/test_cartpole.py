"""CartPole is solved: DQN, in the closed loop."""

import csv
import importlib

import pytest

from core import settings
from envs import cartpole
from training import loop


@pytest.mark.slow
def test_solves_cartpole(tmp_path):
    config = importlib.import_module("configs.cartpole_dqn").get_config()
    with config.unlocked():
        config.environment = settings.to_config(cartpole.Settings())
    config.training.steps_per_call = 500
    assert loop.train(config, tmp_path / "run")
    with (tmp_path / "run" / "evaluation.csv").open(newline="") as stream:
        last = list(csv.DictReader(stream))[-1]
    assert float(last["mean_return"]) >= 475
