"""What a recorder writes, computed by hand."""

import numpy as np
import pytest

from configs import probe
from plasticity import norm_growth
from training import derived
from training.logs import csv_log, recorder

_COUNTERS = {"frames": 800, "updates": 70, "schedule_updates": 50, "task": 0}


def _make(path, **changes):
    config = probe.get_config()
    config.update_from_flattened_dict(changes)
    names = ("loss", "gradient_norm", "priority")
    return recorder.Recorder(path, derived.resolve(config), {"train": 0, "layers": 0}, names)


def _numbers(row, *names):
    return [float(row[name]) for name in names]


def test_rates_under_layer_wise_norm_growth_are_the_layers_own(tmp_path):
    """Since the schedule began, 50 updates: the norm of a has grown from 3 to 4.5 by then."""
    path = str(tmp_path / "norms.csv")
    norm_growth.append_row(path, 0, {"a": 3.0})
    norm_growth.append_row(path, 100, {"a": 6.0})
    schedule = {"name": "norm_growth", "norms_file": path, "power": 2}
    changes = {f"optimizer.schedule.{key}": value for key, value in schedule.items()}
    written = _make(tmp_path, **changes, **{"optimizer.learning_rate": 9e-3})
    written.layers(_COUNTERS, {"norm": {"a": np.array([2.0]), "output": np.array([4.0])}})
    written.interval(_COUNTERS, np.array([0]), {})
    rows = {row["layer"]: row for row in csv_log.read_rows(tmp_path / "layers.csv")}
    names = ("learning_rate", "learning_rate_over_norm", "learning_rate_over_norm2")
    # 9e-3 (3 / 4.5)^2 = 4e-3 at a norm of 2; the output has no factor.
    assert _numbers(rows["a"], *names) == pytest.approx([4e-3, 2e-3, 1e-3])
    assert _numbers(rows["output"], *names) == pytest.approx([9e-3, 2.25e-3, 5.625e-4])
    (row,) = csv_log.read_rows(tmp_path / "train.csv")
    assert _numbers(row, "learning_rate") == pytest.approx([9e-3])
