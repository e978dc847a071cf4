"""What each method changes, and whether it fits the agent."""

from benchmarks import lab_methods, prepared


def test_every_method_fits_the_agent_it_is_put_into():
    names = lab_methods.names()
    assert {"plain", "nap", "redo", "adamw", "injection"} <= set(names)
    assert not {"hl_gauss", "two_hot", "task"} & set(names)
    for name in names:
        changes = {"replay.capacity": 20_000, **lab_methods.changes(name)}
        settings = prepared.settings_of("data_efficient", "pong", changes)
        assert settings.name == "data_efficient", name
    assert lab_methods.changes("plain") == {}
    assert lab_methods.changes("nap").keys() >= {"optimizer.projection.enabled"}
