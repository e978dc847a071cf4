"""Arrays to Reverb's chunks and back.

A chunk holds one tensor or more, each [T, ...] with its bytes compressed by snappy (raw blocks);
an item's column is slices of chunks, one after the other (Reverb's tensor_compression.cc and
trajectory_util.cc). Received data is not trusted: sizes are checked before memory is allocated,
and no received byte is ever executed.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import cramjam
import numpy as np

from replay.reverb.wire import messages
from replay.reverb.wire.errors import WireError

# TensorFlow's types.proto; little-endian on the wire.
_DTYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "|u1",
    5: "<i2",
    6: "|i1",
    8: "<c8",
    9: "<i8",
    10: "|b1",
    17: "<u2",
    18: "<c16",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
_DECODED = {code: np.dtype(name) for code, name in _DTYPES.items()}
_CODES = {dtype: code for code, dtype in _DECODED.items()}
_BOOL = _CODES[np.dtype(np.bool_)]
_MAX_RANK = 32
# For a shape of that rank; TensorFlow may name its dimensions.
_MAX_SHAPE_BYTES = 1024
# A field of a protobuf message may be this long, and the server's messages have int32 lengths.
_MAX_CONTENT_BYTES = 2**31 - 2**20

DEFAULT_MAX_BYTES = 1 << 30


def encode_tensor(array: np.ndarray) -> Any:
    """The Tensor message of an array.

    Raises:
      ValueError: Reverb has no such type, or the array is too large for a message.
    """
    code = _CODES.get(array.dtype.newbyteorder("<"))
    if code is None:
        known = ", ".join(sorted(dtype.name for dtype in _CODES))
        raise ValueError(f"dtype = {array.dtype}: expected one of {known}")
    if array.nbytes > _MAX_CONTENT_BYTES:
        raise ValueError(f"array of {array.nbytes} bytes: expected at most {_MAX_CONTENT_BYTES}")
    tensor = messages.Tensor(dtype=code)
    for size in array.shape:
        tensor.shape.dim.add(size=size)
    content = np.ascontiguousarray(array, _DTYPES[code]).reshape(-1).view(np.uint8)
    tensor.content = bytes(cramjam.snappy.compress_raw(content.data))
    return tensor


def decode_tensor(tensor: Any, max_bytes: int = DEFAULT_MAX_BYTES) -> np.ndarray:
    """The array of a Tensor message.

    Args:
      tensor: as received.
      max_bytes: how large the array may be.

    Raises:
      WireError: its type, shape or content is wrong, or it is too large.
    """
    dtype, shape = tensor_kind(tensor)
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes > max_bytes:
        raise WireError(f"tensor of {num_bytes} bytes, shape {shape}: expected at most {max_bytes}")
    content = np.empty(num_bytes, np.uint8)
    decode_into(tensor, content.data)
    return content.view(dtype).reshape(shape)


def tensor_kind(tensor: Any) -> tuple[np.dtype, tuple[int, ...]]:
    """The dtype and shape that a Tensor message declares, of any size.

    Raises:
      WireError: there is no such type or shape.
    """
    shape = tensor.shape.SerializeToString()
    if len(shape) > _MAX_SHAPE_BYTES:
        raise WireError(f"tensor's shape has {len(shape)} bytes: expected at most 32 sizes >= 0")
    return _parse_kind(tensor.dtype, shape)


# There are few, and every chunk has one; parsing a message takes longer than copying it.
@functools.lru_cache(256)
def _parse_kind(code: int, content: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    dtype = _DECODED.get(code)
    if dtype is None:
        raise WireError(f"tensor with dtype {code}: expected one of {sorted(_DTYPES)}")
    message = messages.Shape.FromString(content)
    shape = tuple([dim.size for dim in message.dim])
    if message.unknown_rank or len(shape) > _MAX_RANK or min(shape, default=0) < 0:
        raise WireError(f"tensor of shape {shape[:_MAX_RANK]}: expected at most 32 sizes >= 0")
    return dtype, shape


def decode_into(tensor: Any, output: memoryview) -> None:
    """Fills memory with the content of a Tensor message.

    Args:
      tensor: as received, of the memory's size.
      output: contiguous bytes.

    Raises:
      WireError: its content is wrong.
    """
    try:
        # It can't write to an empty output; content longer than the output is an error.
        if output.nbytes:
            length = cramjam.snappy.decompress_raw_into(tensor.content, output)
        else:
            length = cramjam.snappy.decompress_raw_len(tensor.content)
    except Exception as error:  # cramjam has its own error for each way to be malformed
        raise WireError(f"tensor's content is not snappy: {error}") from error
    if length != output.nbytes:
        raise WireError(f"tensor's content has {length} bytes: expected {output.nbytes}")
    if tensor.dtype == _BOOL and (largest := np.asarray(output).max(initial=0)) > 1:
        raise WireError(f"tensor of booleans with a byte {largest}: expected 0 or 1")


def encode_chunk(key: int, episode: int, array: np.ndarray) -> Any:
    """The Chunk message of an array [T, ...], T >= 1.

    Args:
      key: of the chunk, 64 bits, never used for another.
      episode: what the server counts as one episode; any number.
      array: T steps of one column.

    Raises:
      ValueError: the array has no step, or can't be encoded.
    """
    if array.ndim < 1 or len(array) < 1:
        raise ValueError(f"array of shape {array.shape}: expected [T, ...] with T >= 1")
    chunk = messages.Chunk(key=key, num_tensors=1, uncompressed_size=array.nbytes)
    chunk.range.episode = episode
    chunk.range.end = len(array) - 1
    chunk.data.tensors.append(encode_tensor(array))
    return chunk


def find_tensor(key: int, index: int, chunks: Mapping[int, Any]) -> tuple[Any, bool]:
    """The Tensor message that a slice of an item refers to, and whether it is delta encoded.

    Args:
      key: of the chunk.
      index: of the tensor in it.
      chunks: the Chunk messages that came with the item, by key.

    Raises:
      WireError: it is not there.
    """
    chunk = chunks.get(key)
    if chunk is None:
        raise WireError(f"item refers to chunk {key}, which did not come with it")
    tensors = chunk.data.tensors
    if not 0 <= index < len(tensors):
        raise WireError(f"tensor {index} of a chunk with {len(tensors)}: expected one of them")
    return tensors[index], chunk.delta_encoded


def slice_end(begin: int, length: int, num_steps: int) -> int:
    """The end of a slice [begin, begin + length) of a chunk.

    Raises:
      WireError: it is empty, or not within the chunk's `num_steps`.
    """
    end = begin + length
    if begin < 0 or length < 1 or end > num_steps:
        raise WireError(
            f"slice [{begin}, {end}) of a chunk with {num_steps} steps: expected one or more of "
            "them"
        )
    return end


def undo_deltas(array: np.ndarray) -> np.ndarray:
    """Undoes Reverb's delta encoding [T, ...]: integers, minus those of the step before."""
    if array.ndim < 2 or array.dtype.kind not in "iu":
        return array
    unsigned = array.view(array.dtype.str.replace("i", "u"))
    return np.cumsum(unsigned, axis=0, dtype=unsigned.dtype).view(array.dtype)


class Parts(NamedTuple):
    """A column of an item, in pieces that share memory with those of other items.

    Attributes:
      arrays: one or more of the same dtype and shape [T, ...], one after the other along time;
        read-only.
      squeeze: whether the column has no time axis; there is one step then.
    """

    arrays: tuple[np.ndarray, ...]
    squeeze: bool

    def join(self) -> np.ndarray:
        """The column [T, ...], or [...] if the writer squeezed it; read-only."""
        if len(self.arrays) == 1:
            (array,) = self.arrays
        else:
            array = np.concatenate(self.arrays)
            array.flags.writeable = False
        return array[0, ...] if self.squeeze else array


class Decoder:
    """Builds items' columns from chunks, each decompressed once however often it is used.

    For the items of one message: the arrays of its chunks are held until the decoder is dropped.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES):
        """Starts without chunks; no array or column may be larger than `max_bytes`."""
        self._max_bytes = max_bytes
        self._arrays: dict[tuple[int, int], np.ndarray] = {}

    def columns(self, trajectory: Any, chunks: Mapping[int, Any]) -> tuple[np.ndarray, ...]:
        """The columns of an item, each [T, ...], or [...] if the writer squeezed it; read-only.

        Arguments and errors: as for `parts`.
        """
        return tuple(parts.join() for parts in self.parts(trajectory, chunks))

    def parts(self, trajectory: Any, chunks: Mapping[int, Any]) -> tuple[Parts, ...]:
        """The columns of an item.

        Args:
          trajectory: the item's Trajectory message.
          chunks: the Chunk messages that came with it, by key.

        Raises:
          WireError: it refers to something missing, or the parts don't fit together.
        """
        return tuple([self._column(column, chunks) for column in trajectory.columns])

    def _column(self, column: Any, chunks: Mapping[int, Any]) -> Parts:
        arrays = tuple([self._part(part, chunks) for part in column.slices])
        if not arrays:
            raise WireError("column of an item without slices: expected one or more")
        if len(arrays) > 1:
            self._check_fit(arrays)
        num_steps = sum(map(len, arrays))
        if column.squeeze and num_steps != 1:
            raise WireError(f"squeezed column has {num_steps} steps: expected 1")
        return Parts(arrays, column.squeeze)

    def _check_fit(self, arrays: tuple[np.ndarray, ...]) -> None:
        dtype, shape, num_bytes = arrays[0].dtype, arrays[0].shape[1:], 0
        for array in arrays:
            if array.dtype != dtype or array.shape[1:] != shape:
                kinds = sorted({f"{array.dtype} {array.shape[1:]}" for array in arrays})
                raise WireError(f"column's slices differ in dtype or shape: {kinds}")
            num_bytes += array.nbytes
        if num_bytes > self._max_bytes:
            raise WireError(f"column of {num_bytes} bytes: expected at most {self._max_bytes}")

    def _part(self, part: Any, chunks: Mapping[int, Any]) -> np.ndarray:
        place = part.chunk_key, part.index
        array = self._arrays.get(place)
        if array is None:
            array = self._arrays[place] = self._decode(*place, chunks)
        begin = part.offset
        return array[begin : slice_end(begin, part.length, len(array))]

    def _decode(self, key: int, index: int, chunks: Mapping[int, Any]) -> np.ndarray:
        tensor, is_delta_encoded = find_tensor(key, index, chunks)
        array = decode_tensor(tensor, self._max_bytes)
        if array.ndim < 1:
            raise WireError("chunk of a scalar: expected an array [T, ...]")
        if is_delta_encoded:
            array = undo_deltas(array)
        array.setflags(write=False)
        return array
