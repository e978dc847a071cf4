"""Growth is read off as it was put in, and every row's configuration exists."""

import json
import subprocess
import sys

import pytest

from benchmarks import machine, prepared, scaling
from training import experiment


def test_growth_of_known_rows():
    """Memory 100 + 2 x, frames a second 10 sqrt(x)."""
    values = (1, 4, 16, 64)
    rows = [{"peak_memory_mb": 100 + 2 * x, "frames_per_second": 10 * x**0.5} for x in values]
    assert scaling.growth(values, rows) == "memory 100 + 2 x MiB; frames/s x^0.50"


@pytest.mark.parametrize("name", scaling.GROUPS)
def test_every_row_is_a_configuration(name):
    group = scaling.GROUPS[name]
    for value in group.values:
        changes = {**group.changes, group.key: value}
        settings = prepared.settings_of(group.config, group.argument, changes)
        assert (settings.training.steps_per_call > 1) == (name == "seeds, closed loop")
        experiment.check_filling(settings)


def test_a_row_is_measured_in_a_process_of_its_own():
    """Two seeds of CartPole: an update for every step of each, so as many updates as frames."""
    changes = {"num_seeds": 2, "replay.capacity": 1_000, "replay.min_size": 100}
    # Before it is timed it plays calls of updates, which are slow when compiled as for tests.
    changes["training.steps_per_call"] = 20
    row = {"config": "cartpole_stream", "argument": "c51:plain", "changes": changes, "seconds": 0.1}
    command = [sys.executable, "-m", "benchmarks.scale", f"--row={json.dumps(row)}"]
    done = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["frames_per_second"] == pytest.approx(found["updates_per_second"], rel=0.3)
    assert found["peak_memory_mb"] > 100
    table = scaling.format_table(
        {
            "machine": {},
            "groups": {
                "seeds": {
                    "config": "c",
                    "key": "k",
                    "rows": [{"value": n, **found} for n in (1, 2, 4)],
                }
            },
        }
    )
    assert table.count(f"{found['frames_per_second']:.0f}") >= 3
