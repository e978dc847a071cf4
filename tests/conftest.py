"""Every test runs under the switches that a training run sets."""

import os
from pathlib import Path

import pytest

from tests import compilation_cache

# Many tests, and the processes that some start, compile the same programs.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compilation_cache.directory()))
# The small ones too: there are many more of them.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# A test's programs run for a few seconds each: code that is compiled sooner pays.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
from jax import experimental

from training.system import jax_platform

_TESTS = Path(__file__).parent

# On the GPU if there is one, else on the CPU; there and here with all bits of float32.
jax_platform.set_up(precision="float32")


# The longest files, which would otherwise be begun last, for they have few tests, and end alone.
_LONGEST = (
    "test_distributed.py",
    "test_probe_learning.py",
    "test_command_lines.py",
    "test_resume.py",
    "test_sequence_run.py",
    "test_protocol.py",
    "test_agent_contract.py",
    "test_interventions.py",
    "test_pages.py",
)


# The files and folders of make test-quick, by what they were measured to take: no training, no
# process of their own, little to compile.
_QUICK = (
    *("analysis", "configs", "core", "effective_rainbow", "replay/device"),
    *("docs/test_containers.py", "docs/test_pages.py"),
    *(f"networks/test_{name}.py" for name in ("convolution", "heads", "linear", "noise")),
    *(f"networks/test_{name}.py" for name in ("normalization", "torsos")),
    *(f"plasticity/test_{name}.py" for name in ("adam_ages", "change_metrics", "layers")),
    *(f"plasticity/test_{name}.py" for name in ("gradient_metrics", "metrics", "projection")),
    *("training/acting/test_policy_file.py", "training/checkpoints", "training/logs"),
    *(f"training/learning/test_{name}.py" for name in ("run_counts", "update_schedule")),
    *("training/test_derived.py", "training/test_run_directory.py"),
)


def pytest_collection_modifyitems(items):
    """They come first; make test says --no-loadscope-reorder, so that they are begun first."""
    order = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    quick = [_TESTS / place for place in _QUICK]
    for item in items:
        is_slow = item.get_closest_marker("slow") is not None
        if not is_slow and any(item.path.is_relative_to(place) for place in quick):
            item.add_marker("quick")


# Of the 65,530 that Linux allows a process by default.
_MOST_MAPPINGS = 15_000


@pytest.fixture(autouse=True)
def _free_programs():
    """Compiled programs are dropped when there are many.

    Each is several mappings of memory, and a process that can't have another dies.
    """
    yield
    if _count_mappings() > _MOST_MAPPINGS:
        jax.clear_caches()


def _count_mappings() -> int:
    """Of this process; 0 where the system doesn't tell."""
    try:
        with open("/proc/self/maps", "rb") as lines:
            return sum(1 for _ in lines)
    except OSError:
        return 0


@pytest.fixture
def float64():
    """Computes in float64 what is given in float64."""
    # Current versions of jax have it at the top, 0.4 has it in jax.experimental.
    owner = jax if hasattr(jax, "enable_x64") else experimental
    with owner.enable_x64(True):
        yield
