"""The settings that the parts are measured with."""

from absl import flags

from benchmarks import components


def test_settings_of_a_config_are_found_and_changed():
    flags.FLAGS.mark_as_parsed()
    chosen = components.settings_of("rainbow_nap", {"replay.batch_size": 8})
    assert chosen.name == "rainbow_nap"
    assert chosen.replay.batch_size == 8
