"""Files of MNIST and CIFAR-10, written here; and windows of photographs."""

import gzip
import struct

import numpy as np
import pytest

from core import checks
from envs import image_data


def _idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def _write_mnist(directory, is_packed=False):
    images = np.arange(2 * 28 * 28).reshape(2, 28, 28) % 256
    for name, array in (("images-idx3", images), ("labels-idx1", np.array([7, 2]))):
        data = _idx(array)
        path = directory / f"train-{name}-ubyte{'.gz' if is_packed else ''}"
        path.write_bytes(gzip.compress(data) if is_packed else data)
    return images


@pytest.mark.parametrize("is_packed", [False, True])
def test_mnist_s_files_are_read(tmp_path, is_packed):
    expected = _write_mnist(tmp_path, is_packed)
    images, labels = image_data.load("mnist", str(tmp_path))
    np.testing.assert_allclose(images, expected / 255, rtol=1e-6)
    assert (images.dtype, labels.dtype) == (np.float32, np.int32)
    assert labels.tolist() == [7, 2]


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-1], lambda raw: b"\1" + raw[1:], lambda _: b""]
)
def test_damaged_files_are_told(tmp_path, damage):
    _write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(checks.ConfigError, match=r"train-images-idx3-ubyte: damaged: expected an"):
        image_data.load("mnist", str(tmp_path))


def test_damaged_packed_files_are_told(tmp_path):
    _write_mnist(tmp_path, is_packed=True)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(checks.ConfigError, match=r"train-labels-idx1-ubyte\.gz: damaged: "):
        image_data.load("mnist", str(tmp_path))


def test_cifar_10_s_files_are_read(tmp_path):
    """A label and the red, green and blue pixels of each image."""
    images = np.random.RandomState(0).randint(256, size=(10, 3, 32, 32))
    for part in range(5):
        rows = [bytes([i]) + images[i].astype(np.uint8).tobytes() for i in (2 * part, 2 * part + 1)]
        (tmp_path / f"data_batch_{part + 1}.bin").write_bytes(b"".join(rows))
    found, labels = image_data.load("cifar10", str(tmp_path))
    np.testing.assert_allclose(found, images.transpose(0, 2, 3, 1) / 255, rtol=1e-6)
    assert labels.tolist() == list(range(10))
    (tmp_path / "data_batch_3.bin").write_bytes(b"12")
    image_data.load_cifar10.cache_clear()
    with pytest.raises(checks.ConfigError, match=r"3\.bin: damaged: .* of 3073 bytes, found 2"):
        image_data.load("cifar10", str(tmp_path))


@pytest.mark.parametrize("source", ["mnist", "cifar10"])
def test_missing_files_are_named(tmp_path, source):
    with pytest.raises(
        checks.ConfigError, match=r"environment\.directory = '.*' ?: expected .* is m"
    ):
        image_data.load(source, str(tmp_path / "none"))


def test_windows_of_photographs_are_eight_pixels_apart():
    images, labels = image_data.load_patches()
    assert images.shape[1:] == (32, 32, 3)
    assert len(images) == 2 * 50 * 77
    np.testing.assert_array_equal(images[0, 8:], images[77, :24])
    np.testing.assert_array_equal(images[0, :, 8:], images[1, :, :24])
    assert 0 <= images.min() < images.max() <= 1
    assert (labels == -1).all()
