"""How an update is written down for the compiler; the results are equal up to rounding."""

REFERENCE = "reference"
FEW_KERNELS = "few_kernels"
NAMES = ("auto", REFERENCE, FEW_KERNELS)
"""Values of the key `formulation`.

reference: as the algorithms read. few_kernels: for a GPU, where an update takes as long as its
hundreds of small kernels take to start: what can be one array, one product or one draw is one.
"""


def resolve(name: str, backend: str) -> str:
    """REFERENCE or FEW_KERNELS.

    Args:
      name: one of NAMES; auto is FEW_KERNELS on a GPU.
      backend: JAX's, such as "cpu" or "gpu".
    """
    if name != "auto":
        return name
    return FEW_KERNELS if backend == "gpu" else REFERENCE
