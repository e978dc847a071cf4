"""Every test runs under the switches that a training run sets."""

import os
import tempfile

import pytest

# Many tests, and the processes that some start, compile the same programs.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="jax-cache-"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import jax
from jax import experimental

from training.system import jax_platform

# On the GPU if there is one, else on the CPU; there and here with all bits of float32.
jax_platform.set_up(precision="float32")


@pytest.fixture
def float64():
    """Computes in float64 what is given in float64."""
    # Current versions of jax have it at the top, 0.4 has it in jax.experimental.
    owner = jax if hasattr(jax, "enable_x64") else experimental
    with owner.enable_x64(True):
        yield
