"""Compiled programs that outlive the process: JAX's cache, in the user's cache directory.

JAX itself keeps programs apart by its own version, the compiler's options and the kind of
accelerator, and compiles anew what it cannot read, such as a file that another run is about to
write.
"""

import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import jax
import jaxlib
from absl import logging


def set_up() -> None:
    """Turns the cache on, unless JAX was told of a directory already.

    JAX_COMPILATION_CACHE_DIR names another directory, JAX_ENABLE_COMPILATION_CACHE=false turns the
    cache off.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    path = directory()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logging.warning("compiled programs are not kept: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(path))


def directory() -> Path:
    """Where this machine's programs are kept.

    A home directory may be that of several machines, and a program for one processor need not run
    on another: each kind of processor has a directory of its own.
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    kind = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    return Path(root) / "effective-rainbow" / f"jaxlib-{jaxlib.__version__}-{kind}"


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What tells kinds of processors apart: the model and what it can do."""
    try:
        first = cpuinfo.read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    lines = [line for line in first.splitlines() if line.startswith(wanted)]
    return "\n".join([platform.machine(), *lines])
