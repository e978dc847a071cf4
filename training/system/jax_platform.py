"""Process-wide switches, set once before the first array exists."""

import ctypes
import functools
import platform
from collections.abc import Callable, Mapping
from typing import Any

import jax

from core import checks
from training.system import compilation_cache, garbage

PRECISIONS: Mapping[str, str | None] = {"default": None, "float32": "float32"}
"""Precisions of float32 products by config.precision, in JAX's terms. Its default is float32 on
CPUs and TF32 on NVIDIA GPUs since Ampere, which has 10 bits of mantissa instead of 23."""

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def set_up(platform_name: str = "auto", precision: str = "default") -> None:
    """Sets random numbers, strictness, memory, compilation cache, device and precision.

    Args:
      platform_name: "auto", "cpu" or "gpu".
      precision: one of PRECISIONS.

    Raises:
      ConfigError: if there is no such device or precision.
    """
    if precision not in PRECISIONS:
        listed = ", ".join(map(repr, PRECISIONS))
        raise checks.ConfigError(f"precision = {precision!r}: expected one of {listed}")
    jax.config.update("jax_default_matmul_precision", PRECISIONS[precision])
    # False in jax < 0.5: a seed would give other networks than it does today.
    jax.config.update("jax_threefry_partitionable", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if platform_name == "cpu":
        jax.config.update("jax_platforms", "cpu")
    keep_freed_memory()
    garbage.collect_seldom()
    compilation_cache.set_up()
    _check_device(platform_name)


def keep_freed_memory() -> bool:
    """Tells glibc to keep large freed blocks instead of returning them to the kernel.

    An update of the network allocates hundreds of MB of temporaries; getting new pages
    each time takes a fifth of its time on a CPU. Without glibc this does nothing.

    Threads keep arenas of their own: compiling leaves so many free blocks in the main one that
    whoever allocates there looks for a fitting one for up to a tenth of an update.

    Returns:
      Whether the allocator took the settings.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = (
        (_M_MMAP_THRESHOLD, 1 << 30),
        (_M_TRIM_THRESHOLD, (1 << 31) - 1),
        (_M_TOP_PAD, 64 << 20),
    )
    accepted = [mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(accepted)


@functools.cache
def compiler_options() -> dict[str, str]:
    """Options for jax.jit of an agent's updates: none on a GPU, or where XLA lacks them.

    By default XLA orders a CPU's operations so that independent ones can run at once. The update's
    large ones use all cores by themselves, and the order that keeps fewer results alive makes it
    about a tenth faster.
    """
    options = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=options)()
    except (TypeError, RuntimeError):  # no such argument (jax 0.4), or no such option
        return {}
    return options


def jit_updates(function: Callable, **arguments: Any):
    """jax.jit of a function that updates an agent, with `compiler_options`."""
    options = compiler_options()
    if options:  # jax 0.4's jit has no such argument
        arguments["compiler_options"] = options
    return jax.jit(function, **arguments)


def _check_device(platform_name: str) -> None:
    try:
        jax.devices(None if platform_name == "auto" else platform_name)
    except RuntimeError as error:
        found = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise checks.ConfigError(
            f"platform = {platform_name!r}: no such device, JAX found: {found}"
        ) from error


def describe_device() -> str:
    """The default device's model, e.g. "NVIDIA A100-SXM4-80GB" or "cpu"."""
    return jax.devices()[0].device_kind
