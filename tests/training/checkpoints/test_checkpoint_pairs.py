"""Which checkpoints are compared."""

import types

import pytest

from core import checks
from training.checkpoints import checkpoint_pairs

_SEQUENCE = types.SimpleNamespace(frames_per_task=100, num_frames=300)


@pytest.mark.parametrize(
    ("which", "expected"),
    [("next", [(0, 50), (50, 150), (150, 200)]), ("first", [(0, 50), (0, 150), (0, 200)])],
)
def test_all_in_order(which, expected):
    assert checkpoint_pairs.choose(which, [0, 50, 150, 200], _SEQUENCE) == expected
    with pytest.raises(checks.ConfigError, match="found 1 checkpoints, expected at least 2"):
        checkpoint_pairs.choose(which, [50], _SEQUENCE)


def test_beginning_and_middle_of_each_visit_that_has_both():
    found = checkpoint_pairs.choose("visits", [0, 50, 100, 120, 200, 250], _SEQUENCE)
    assert found == [(0, 50), (200, 250)]
    with pytest.raises(checks.ConfigError, match="such as 0 and 50, found 50, 100, 150"):
        checkpoint_pairs.choose("visits", [50, 100, 150], _SEQUENCE)
