"""Each ablation of Rainbow is Rainbow but for one part."""

import pytest

from configs import rainbow, rainbow_ablation
from core import checks
from tests.configs.test_dqn_zoo import flat
from training import derived, experiment, run_settings

# What differs, with the value after; of an agent of another module its own keys as well.
CHANGES = {
    "dueling": {"network.head.dueling": False},
    "noise": {
        "network.head.noisy": False,
        "agent.module": "c51",
        "agent.double": True,
        "agent.num_atoms": 51,
        "agent.v_max": 10.0,
        "agent.epsilon.begin": 1.0,
        "agent.epsilon.begin_steps": 20_000,
        "agent.epsilon.decay_steps": 62_500,
        "agent.epsilon.end": 0.01,
        "agent.epsilon.evaluation": 0.001,
    },
    "priorities": {"replay.module": "uniform"},
    "steps": {"transition.n_step": 1},
    "double": {"agent.double": False},
    "distribution": {
        "agent.module": "prioritized",
        "agent.loss": "squared",
        "agent.max_td_gradient": 1 / 32,
        "agent.epsilon.begin": 0.0,
        "agent.epsilon.begin_steps": 50_000,
        "agent.epsilon.decay_steps": 1_000_000,
        "agent.epsilon.end": 0.0,
        "agent.epsilon.evaluation": 0.0,
    },
}
_REPLACED = {"noise": "agent.", "distribution": "agent.", "priorities": "replay."}


@pytest.mark.parametrize("part", CHANGES)
def test_one_part_is_left_out(part):
    expected = flat(rainbow.get_config("breakout").to_dict())
    found = flat(rainbow_ablation.get_config(f"{part}:breakout").to_dict())
    assert found.pop("name") == f"rainbow_without_{part}"
    del expected["name"]
    if part == "priorities":
        kept = ("replay.capacity", "replay.min_size", "replay.batch_size")
        expected = {k: v for k, v in expected.items() if not k.startswith("replay.") or k in kept}
    elif part in _REPLACED:
        expected = {k: v for k, v in expected.items() if not k.startswith("agent.")}
    assert found == {**expected, **CHANGES[part]}


def test_the_control_is_rainbow():
    expected = flat(rainbow.get_config().to_dict())
    assert flat(rainbow_ablation.get_config().to_dict()) == {**expected, "name": "rainbow_ablation"}


@pytest.mark.parametrize("part", CHANGES)
def test_it_can_be_built(part):
    config = derived.resolve(rainbow_ablation.get_config(part))
    built = experiment.make(run_settings.parse(config))
    built.environment.close()
    assert "loss" in experiment.metric_names(built)


def test_another_part_is_refused():
    with pytest.raises(checks.ConfigError, match="part = 'noisy': expected 'dueling' or "):
        rainbow_ablation.get_config("noisy")
