"""XLA's compiler for an NVIDIA H100, on a machine without one.

It needs the packages of the extra `gpu-program`: JAX's plug-in for CUDA, which holds the compiler,
and NVIDIA's assembler. The card is described by h100.txtpb.
"""

import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies

from core import checks

_PLUGINS = ("jax-cuda12-plugin", "jax-cuda12-pjrt")
_ASSEMBLER = "nvidia-cuda-nvcc-cu12"
_DESCRIPTION = Path(__file__).with_name("h100.txtpb")


def missing() -> str:
    """Why nothing can be compiled for a GPU here, with the remedy, in one line; "" if it can."""
    wanted = importlib.metadata.version("jaxlib")
    for name in _PLUGINS:
        found = _version(name)
        if found != wanted:
            return (
                f"{name} = {found or 'missing'}: expected {wanted}, the version of jaxlib: "
                f"pip install '.[gpu-program]' {name}=={wanted}"
            )
    if _version(_ASSEMBLER) is None:
        return f"{_ASSEMBLER} = missing: expected any version: pip install '.[gpu-program]'"
    return ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def find() -> jax.sharding.Sharding:
    """Where an H100's arrays would be; to be called before anything else of JAX.

    Sets environment variables of XLA for this process. Products are not tuned: that needs a card.

    Raises:
      ConfigError: if packages are missing; the message names them.
    """
    if reason := missing():
        raise checks.ConfigError(reason)
    toolkit = _toolkit()
    os.environ["PATH"] = f"{toolkit / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    options = f"--xla_gpu_cuda_data_dir={toolkit} --xla_gpu_autotune_level=0"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {options}".strip()
    jax.config.update("jax_platforms", "cpu")
    # What is read is always what the compiler makes now.
    jax.config.update("jax_enable_compilation_cache", False)
    topology = topologies.get_topology_desc(
        platform="cuda",
        topology_name="h100",
        target_config=_DESCRIPTION.read_text(encoding="utf-8"),
        topology="1x1x1",
    )
    return jax.sharding.SingleDeviceSharding(topology.devices[0])


def _toolkit() -> Path:
    found = importlib.util.find_spec("nvidia.cuda_nvcc")
    locations = None if found is None else found.submodule_search_locations
    assert locations, "its version was found"
    return Path(next(iter(locations)))


def compile_text(function: Any, *arguments: Any, sharding: jax.sharding.Sharding) -> str:
    """The scheduled program of a jitted function, as text.

    Args:
      function: from jax.jit.
      *arguments: trees of shapes and types; integers are static arguments.
      sharding: from `find`.
    """

    def place(x: Any) -> Any:
        if isinstance(x, int):
            return x
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return function.lower(*jax.tree.map(place, arguments)).compile().as_text()
