"""How an update is written down for the compiler; the results are equal up to rounding."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from core import checks

REFERENCE = "reference"
COMPUTE_ONCE = "compute_once"
FEW_KERNELS = "few_kernels"
PALLAS = "pallas"
NAMES = ("auto", REFERENCE, COMPUTE_ONCE, FEW_KERNELS, PALLAS)
"""Values of the key `formulation`.

reference: as the algorithms read. compute_once: for a CPU, where XLA works out anew within all that
uses it what is small, or only reshaped: noise is drawn before the passes, and one update stays a
loop, which XLA leaves alone. few_kernels: for a GPU, where an update takes as long as its
hundreds of small kernels take to start: what can be one array, one product or one draw is one.
pallas: few_kernels, and some steps are kernels written by hand, which JAX has Triton compile.
"""


def resolve(name: str, backend: str) -> str:
    """REFERENCE, COMPUTE_ONCE, FEW_KERNELS or PALLAS.

    Args:
      name: one of NAMES; auto is COMPUTE_ONCE on a CPU and FEW_KERNELS on a GPU.
      backend: JAX's, such as "cpu" or "gpu".

    Raises:
      ConfigError: for PALLAS, if this JAX is too old for it.
    """
    if name == PALLAS and not has_pallas():
        raise checks.ConfigError(
            f"formulation = {name!r}: expected another value, as JAX {jax.__version__} has no "
            "jax.experimental.pallas.triton.load"
        )
    if name != "auto":
        return name
    return {"cpu": COMPUTE_ONCE, "gpu": FEW_KERNELS}.get(backend, REFERENCE)


def has_pallas() -> bool:
    """Whether this JAX has what the kernels are written with."""
    try:
        from jax.experimental.pallas import triton  # it is slow to import
    except ImportError:
        return False
    return hasattr(triton, "load")


def call_kernel(
    kernel: Callable[..., None],
    num_programs: int,
    out_shapes: Sequence[Any],
    operands: Sequence[jax.Array],
    aliases: Mapping[int, int] | None = None,
) -> Sequence[jax.Array]:
    """The results of a kernel: compiled by Triton on a GPU, interpreted on a CPU.

    Args:
      kernel: does the work of one program; gets references to all operands and results.
      num_programs: that run side by side.
      out_shapes: of the results.
      operands: arrays.
      aliases: which operand is changed in place and becomes which result.
    """
    from jax.experimental import pallas
    from jax.experimental.pallas import triton

    def call(interpret: bool) -> Callable[..., Any]:
        return pallas.pallas_call(
            kernel,
            out_shape=list(out_shapes),
            grid=(num_programs,),
            input_output_aliases=dict(aliases or {}),
            interpret=interpret,
            # Without it, Mosaic might be taken.
            compiler_params=None if interpret else triton.CompilerParams(),
        )

    return jax.lax.platform_dependent(*operands, cpu=call(True), default=call(False))
