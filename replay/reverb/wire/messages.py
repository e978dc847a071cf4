"""The messages of Reverb's service, as far as they are needed here.

Names are ours; the numbers and types of the fields are the interface (Reverb's schema.proto and
reverb_service.proto, TensorFlow's tensor.proto; unchanged from 0.14 on). The classes are built at
import, in a pool of their own: generated code would tie the project to one protobuf, and would
clash with Reverb's own messages in a process that has both.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "replay_wire"
_FILE = "replay_wire.proto"

# Number, name, type; with * repeated. A type that is not protobuf's own is another message.
_SCHEMA: dict[str, list[tuple[int, str, str]]] = {
    "Dim": [(1, "size", "int64")],
    "Shape": [(2, "dim", "Dim*"), (3, "unknown_rank", "bool")],
    "Tensor": [(1, "dtype", "int32"), (2, "shape", "Shape"), (4, "content", "bytes")],
    "Tensors": [(1, "tensors", "Tensor*")],
    "Range": [(1, "episode", "uint64"), (2, "start", "int32"), (3, "end", "int32")],
    "Chunk": [
        (1, "key", "uint64"),
        (2, "range", "Range"),
        (4, "delta_encoded", "bool"),
        (5, "data", "Tensors"),
        (6, "num_tensors", "int32"),
        (7, "uncompressed_size", "int64"),
    ],
    "Slice": [
        (1, "chunk_key", "uint64"),
        (2, "offset", "int32"),
        (3, "length", "int32"),
        (4, "index", "int32"),
    ],
    "Column": [(1, "slices", "Slice*"), (2, "squeeze", "bool")],
    "Trajectory": [(1, "columns", "Column*")],
    "Item": [
        (1, "key", "uint64"),
        (2, "table", "string"),
        (5, "priority", "double"),
        (6, "times_sampled", "int32"),
        (8, "trajectory", "Trajectory"),
    ],
    "InsertRequest": [(1, "chunks", "Chunk*"), (2, "items", "Item*"), (3, "keep", "uint64*")],
    "InsertResponse": [(1, "keys", "uint64*")],
    "SampleRequest": [(1, "table", "string"), (2, "num_samples", "int64")],
    "Info": [
        (1, "item", "Item"),
        (2, "probability", "double"),
        (3, "table_size", "int64"),
        (4, "rate_limited", "bool"),
    ],
    "Entry": [(1, "info", "Info"), (2, "data", "Chunk*"), (3, "end_of_sequence", "bool")],
    "SampleResponse": [(1, "entries", "Entry*")],
    "Update": [(1, "key", "uint64"), (2, "priority", "double")],
    "MutateRequest": [(1, "table", "string"), (2, "updates", "Update*"), (3, "deletes", "uint64*")],
    "ResetRequest": [(1, "table", "string")],
    "Stats": [(2, "completed", "int64")],
    "Limiter": [
        (4, "min_size", "int64"),
        (5, "inserts", "Stats"),
        (6, "samples", "Stats"),
    ],
    "TableInfo": [
        (3, "max_size", "int64"),
        (5, "limiter", "Limiter"),
        (7, "size", "int64"),
        (8, "name", "string"),
    ],
    "Uint128": [(1, "high", "uint64"), (2, "low", "uint64")],
    "InfoResponse": [(1, "tables_state_id", "Uint128"), (2, "tables", "TableInfo*")],
    "CheckpointResponse": [(1, "path", "string")],
    "Empty": [],
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            message.field.append(_field(number, field, kind))
    return file


def _field(number: int, name: str, kind: str) -> descriptor_pb2.FieldDescriptorProto:
    base = kind.removesuffix("*")
    proto = descriptor_pb2.FieldDescriptorProto
    field = proto(name=name, number=number)
    field.label = proto.LABEL_REPEATED if kind.endswith("*") else proto.LABEL_OPTIONAL
    if base in _SCHEMA:
        field.type = proto.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{base}"
    else:
        field.type = proto.Type.Value(f"TYPE_{base.upper()}")
    return field


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    named = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _SCHEMA}
    return {name: message_factory.GetMessageClass(found) for name, found in named.items()}


_BY_NAME = _classes()

Shape: Any = _BY_NAME["Shape"]
Tensor: Any = _BY_NAME["Tensor"]
Chunk: Any = _BY_NAME["Chunk"]
Column: Any = _BY_NAME["Column"]
Item: Any = _BY_NAME["Item"]
InsertRequest: Any = _BY_NAME["InsertRequest"]
InsertResponse: Any = _BY_NAME["InsertResponse"]
SampleRequest: Any = _BY_NAME["SampleRequest"]
SampleResponse: Any = _BY_NAME["SampleResponse"]
MutateRequest: Any = _BY_NAME["MutateRequest"]
ResetRequest: Any = _BY_NAME["ResetRequest"]
InfoResponse: Any = _BY_NAME["InfoResponse"]
CheckpointResponse: Any = _BY_NAME["CheckpointResponse"]
Empty: Any = _BY_NAME["Empty"]

# The calls: their request and response. The streams send and receive any number of each.
METHODS: dict[str, tuple[Any, Any]] = {
    "InsertStream": (InsertRequest, InsertResponse),
    "SampleStream": (SampleRequest, SampleResponse),
    "MutatePriorities": (MutateRequest, Empty),
    "Reset": (ResetRequest, Empty),
    "ServerInfo": (Empty, InfoResponse),
    "Checkpoint": (Empty, CheckpointResponse),
}


def path(method: str) -> str:
    """The name of a call on the wire."""
    return f"/deepmind.reverb.ReverbService/{method}"
