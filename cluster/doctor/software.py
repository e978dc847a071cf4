"""Checks of Python, JAX, the GPU's driver, and the environment that a configuration names."""

import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Sequence

import jax
import numpy as np

from cluster.doctor.finding import Finding, Level
from envs import atari
from envs import base as envs_base
from training.system import jax_platform

LEAST_PYTHON = (3, 11)

LEAST_DRIVERS = {"12": (525, 60), "13": (580, 65)}
"""The oldest Linux driver for each major version of CUDA (NVIDIA, CUDA Compatibility)."""

_INSTALL_GPU = "pip install -c constraints.txt -e '.[gpu]'"
_STEPS = 4


def check_python(version: tuple[int, int, int] = sys.version_info[:3]) -> Finding:
    """Whether this Python is new enough."""
    found = ".".join(map(str, version))
    if version[:2] < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        remedy = f"install Python {least} or newer, then make setup PYTHON=python{least}"
        return Finding("python", Level.FAILURE, found, remedy)
    return Finding("python", Level.OK, found)


def check_jax(platform: str, precision: str) -> Finding:
    """The devices that JAX computes on; raises ConfigError if the platform is not there."""
    jax_platform.set_up(platform, precision)
    devices = jax.devices()
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    found = f"jax {jax.__version__}, {len(devices)} x {devices[0].platform} ({kinds})"
    return Finding("jax", Level.OK, found)


def check_gpu(platform: str) -> Finding:
    """The NVIDIA driver against the CUDA packages of JAX."""
    backend = "" if platform == "cpu" else jax.default_backend()
    return judge_gpu(find_gpus(), cuda_plugin(), backend, platform)


def find_gpus() -> list[tuple[str, str]]:
    """Model and driver version of each NVIDIA GPU; none where the driver's tool finds none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    done = subprocess.run(
        [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return []
    rows = [line.rpartition(",") for line in done.stdout.splitlines() if "," in line]
    return [(name.strip(), driver.strip()) for name, _, driver in rows]


def cuda_plugin() -> str:
    """The major version of CUDA that JAX's installed packages are for; empty if none is."""
    for major in LEAST_DRIVERS:
        try:
            importlib.metadata.version(f"jax-cuda{major}-plugin")
        except importlib.metadata.PackageNotFoundError:
            continue
        return major
    return ""


def judge_gpu(gpus: Sequence[tuple[str, str]], plugin: str, backend: str, platform: str) -> Finding:
    """What the GPUs of a machine are good for.

    Args:
      gpus: model and driver version of each.
      plugin: major version of CUDA of JAX's packages; empty: none installed.
      backend: JAX's default backend; empty where it was told to use the CPU.
      platform: `platform` of the configuration.
    """
    bad = Level.FAILURE if platform == "gpu" else Level.WARNING
    if not gpus:
        if platform == "gpu":
            remedy = "a machine with an NVIDIA driver, or --config.platform=cpu"
            return Finding("gpu", bad, "no NVIDIA GPU, and platform = 'gpu'", remedy)
        return Finding("gpu", Level.OK, "no NVIDIA GPU: runs compute on the CPU")
    model, driver = gpus[0]
    found = f"{len(gpus)} x {model}, driver {driver}"
    if platform == "cpu":
        return Finding("gpu", Level.OK, f"{found}, not used: platform = 'cpu'")
    if not plugin:
        return Finding("gpu", bad, f"{found}, but JAX without CUDA", _INSTALL_GPU)
    least = LEAST_DRIVERS[plugin]
    if _version(driver) < least:
        needed = ".".join(map(str, least))
        remedy = f"a driver of version {needed} or newer"
        return Finding("gpu", bad, f"{found}, too old for CUDA {plugin}", remedy)
    if backend not in ("gpu", "cuda"):
        remedy = (
            "unset JAX_PLATFORMS, and see what python -c 'import jax; jax.devices(\"gpu\")' says"
        )
        return Finding("gpu", bad, f"{found}, CUDA {plugin}, but JAX uses {backend}", remedy)
    return Finding("gpu", Level.OK, f"{found}, CUDA {plugin}")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())


def check_atari() -> Finding:
    """Starts an emulator with a game of ALE's ROMs, and plays some steps."""
    return _play("atari", atari.Settings())


def check_environment(settings: envs_base.Settings) -> Finding:
    """Makes one environment of the configuration, and plays some steps."""
    return _play("environment", settings)


def _play(name: str, settings: envs_base.Settings) -> Finding:
    environment = envs_base.make(settings, 1, seed=0)
    try:
        timestep = environment.reset()
        for _ in range(_STEPS):
            environment.send(np.zeros(1, np.int32))
            timestep = environment.recv()
    finally:
        environment.close()
    observation = np.asarray(timestep.observation)
    what = f"{settings.module}, {envs_base.task_name(settings)}"
    return Finding(name, Level.OK, f"{what}: played {_STEPS} steps, sees {observation.shape[1:]}")
