"""The official client, in the replay server's environment: a JSON command and answer a line.

.venv-replay/bin/python tests/replay/reverb/wire/reverb_oracle.py HOST:PORT
"""

import base64
import io
import json
import runpy
import sys

import google.protobuf
import numpy as np
import reverb
from reverb.cc import schema_pb2


def pack(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return base64.b64encode(stream.getvalue()).decode()


def unpack(text):
    return np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)


def sample(client, table, count):
    """Draws items; every array as the official sampler gives it."""
    drawn = client.sample(table, count, emit_timesteps=False)
    return [
        {**item.info._asdict(), "columns": [pack(np.asarray(x)) for x in item.data]}
        for item in drawn
    ]


def write_trajectories(client, table, steps, length, stride, chunk_length, priorities):
    """Items of the last `length` steps, every `stride` steps, of columns [T, ...]."""
    columns = [unpack(text) for text in steps]
    remaining = list(priorities)
    with client.trajectory_writer(num_keep_alive_refs=length) as writer:
        for i in range(len(columns) if chunk_length else 0):
            writer.configure((i,), num_keep_alive_refs=length, max_chunk_length=chunk_length)
        for t in range(len(columns[0])):
            writer.append([column[t] for column in columns])
            if t + 1 >= length and (t + 1 - length) % stride == 0:
                writer.create_item(
                    table, remaining.pop(0), [column[-length:] for column in writer.history]
                )
        writer.flush()


def write_deltas(client, table, steps, length, priority):
    """One item through the old writer: all columns in each chunk, as deltas."""
    columns = [unpack(text) for text in steps]
    with client.writer(length, delta_encoded=True, chunk_length=3) as writer:
        for t in range(len(columns[0])):
            writer.append([column[t] for column in columns])
        writer.create_item(table, length, priority)


def update(client, table, keys, priorities):
    client.mutate_priorities(table, updates=dict(zip(keys, priorities)))


def info(client):
    return {
        name: {
            "size": table.current_size,
            "max_size": table.max_size,
            "num_inserts": table.rate_limiter_info.insert_stats.completed,
            "num_samples": table.rate_limiter_info.sample_stats.completed,
            "min_size": table.rate_limiter_info.min_size_to_sample,
        }
        for name, table in client.server_info(timeout=900).items()
    }


def built_messages(client, file):
    """What the wire client's messages are here: under this protobuf, beside Reverb's own."""
    found = runpy.run_path(file)
    chunk = found["Chunk"](key=2**63, num_tensors=1, delta_encoded=True)
    chunk.data.tensors.add(dtype=4, content=b"abc").shape.dim.add(size=3)
    request = found["InsertRequest"](chunks=[chunk], keep=[1, 2**64 - 1])
    request.items.add(key=5, table="t", priority=0.5).trajectory.columns.add(squeeze=True)
    official = schema_pb2.ChunkData.FromString(chunk.SerializeToString())
    return [
        google.protobuf.__version__,
        request.SerializeToString(deterministic=True).hex(),
        [official.chunk_key, official.data.tensors[0].tensor_content.decode()],
    ]


COMMANDS = {
    f.__name__: f for f in (sample, write_trajectories, write_deltas, update, info, built_messages)
}


def main():
    client = reverb.Client(sys.argv[1])
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(COMMANDS[name](client, **arguments)), flush=True)


if __name__ == "__main__":
    main()
