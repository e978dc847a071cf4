"""What a recorder writes, computed by hand."""

import numpy as np
import pytest

from configs import probe
from training import derived, run_settings
from training.logs import csv_log, run_recorder

_COUNTERS = {"frames": 800, "updates": 70, "task": 0}


def _settings(**changes):
    config = probe.get_config()
    config.update_from_flattened_dict(changes)
    return run_settings.parse(derived.resolve(config))


def _make(path, **changes):
    names = ("loss", "learning_rate")
    return run_recorder.Recorder(path, _settings(**changes), {"train": 0, "layers": 0}, names)


def _numbers(row, *names):
    return [float(row[name]) for name in names]


def test_rates_are_those_measured_and_over_the_norms(tmp_path):
    written = _make(tmp_path)
    norms = {"a": np.array([2.0]), "output": np.array([0.0])}
    rates = {"a": np.array([4e-3]), "output": np.array([9e-3])}
    written.layers(_COUNTERS, {"norm": norms, "learning_rate": rates})
    rows = {row["layer"]: row for row in csv_log.read_rows(tmp_path / "layers.csv")}
    names = ("learning_rate", "learning_rate_over_norm", "learning_rate_over_norm2")
    assert _numbers(rows["a"], *names) == pytest.approx([4e-3, 2e-3, 1e-3])
    assert _numbers(rows["output"], *names) == pytest.approx([9e-3, 0.0, 0.0])


def test_the_clock_goes_on_where_the_start_before_was(tmp_path):
    """Also where that one had written a single row, and early."""
    (tmp_path / "train.csv").write_text("frames,elapsed_seconds\n400,30.0\n800,1e4\n1200,2e4\n")
    written = run_recorder.Recorder(tmp_path, _settings(), {"train": 800}, ())
    assert 1e4 < written._speed(1_600)["elapsed_seconds"] < 2e4


def test_a_row_has_means_and_the_last_learning_rate(tmp_path):
    written = _make(tmp_path)
    for loss, rate in ((1.0, 3e-3), (2.0, 1e-3)):
        written.learned(_COUNTERS, {"loss": np.array([loss]), "learning_rate": np.array([rate])})
    written.interval(_COUNTERS, np.array([0]), {})
    (row,) = csv_log.read_rows(tmp_path / "train.csv")
    assert _numbers(row, "loss", "learning_rate") == [1.5, 1e-3]
