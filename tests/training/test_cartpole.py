"""CartPole is solved, as the config says."""

import importlib

import pytest

from training import loop


@pytest.mark.slow
def test_solves_cartpole(tmp_path):
    config = importlib.import_module("configs.cartpole").get_config()
    assert loop.train(config, tmp_path / "run")
    lines = (tmp_path / "run" / "evaluation.csv").read_text().splitlines()
    header, last = lines[0].split(","), lines[-1].split(",")
    assert float(last[header.index("mean_return")]) >= 475
