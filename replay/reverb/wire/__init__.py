"""A client of a stock Reverb server without TensorFlow: gRPC, protobuf and snappy alone."""

from replay.reverb.wire.errors import WireError, WireTimeoutError, WireUnavailableError
from replay.reverb.wire.sampler import Sampled, Sampler
from replay.reverb.wire.wire_client import Client, TableInfo
from replay.reverb.wire.wire_writer import Chunk, Column, NewItem, Slice, Writer

__all__ = [
    "Chunk",
    "Client",
    "Column",
    "NewItem",
    "Sampled",
    "Sampler",
    "Slice",
    "TableInfo",
    "WireError",
    "WireTimeoutError",
    "WireUnavailableError",
    "Writer",
]
