"""What a replay takes, and what there is."""

from pathlib import Path

import jax
import numpy as np
import pytest
from dm_env import specs

from core import checks
from replay import base as replay_base
from replay.device import prioritized
from training.system import memory

_GB = 10**9


def _replay(shape, dtype):
    spec = replay_base.TransitionSpec(specs.Array(shape, dtype), 2, 4, 3, 0.99)
    return prioritized.make(prioritized.Settings(capacity=100, min_size=20), spec)


@pytest.mark.parametrize(("shape", "dtype"), [((84, 84), np.uint8), ((3,), np.float32)])
def test_bytes_are_those_of_the_arrays(shape, dtype):
    replay = _replay(shape, dtype)
    found = sum(array.nbytes for array in jax.tree.leaves(replay.init()))
    assert memory.replay_bytes(replay, 1) == found
    assert memory.replay_bytes(replay, 3) == 3 * found


def test_the_error_names_what_fits():
    memory.check_replay(10 * _GB, 1_000_000, "num_seeds = 1", 10 * _GB)
    expected = (
        r"^replay\.capacity = 1000000: the replay takes 10\.0 GB with num_seeds = 4, and there are "
        r"5\.0 GB: expected at most 450000$"
    )
    with pytest.raises(checks.ConfigError, match=expected):
        memory.check_replay(10 * _GB, 1_000_000, "num_seeds = 4", 5 * _GB)


def test_this_machine_has_memory():
    assert 10**6 < (memory.host_bytes() or 0) < 10**15


def _group(path: Path, **files: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)


def test_limits_of_control_groups(tmp_path):
    """Version 2: of the group and those above it; pages that can be given back count as free."""
    own = tmp_path / "cgroup"
    own.write_text("0::/job/step\n")
    root = tmp_path / "root"
    _group(root / "job/step", memory__max="max\n", memory__current="5\n")
    _group(
        root / "job", memory__max="100\n", memory__current="70\n", memory__stat="inactive_file 30\n"
    )
    assert list(memory._free_of_groups(root, own)) == [60]


def test_limits_of_the_first_version(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("5:cpu:/job\n4:hugetlb,memory:/job\n")
    _group(
        tmp_path / "root/memory/job",
        memory__limit_in_bytes="100\n",
        memory__usage_in_bytes="90\n",
        memory__stat="total_inactive_file 20\n",
    )
    assert list(memory._free_of_groups(tmp_path / "root", own)) == [30]


def test_systems_without_control_groups(tmp_path):
    assert list(memory._free_of_groups(tmp_path, tmp_path / "none")) == []
    assert list(memory._free_of_machine(tmp_path / "none")) == []
