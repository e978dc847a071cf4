"""The process that draws and decodes batches; see replay/reverb/sampling/decoder_process.py."""

import json
import os
import socket
import sys

import numpy as np

from replay.reverb.sampling import batch_stream, batches, decoder_process, slots
from replay.reverb.wire import errors, wire_client


class _Filling:
    """Fills slots in turn and notifies the parent."""

    def __init__(self, shared: slots.Slots, to_parent: socket.socket):
        self._shared, self._to_parent = shared, to_parent
        self._number = 0

    def stacks(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the frames of the next batch go."""
        return self._shared.stacks(self._number)

    def tell(self, batch: batches.DrawnBatch) -> None:
        """Puts the batch into the next slot and notifies the parent."""
        self._shared.put(self._number, batch)
        self._number += 1
        self._to_parent.send(decoder_process.BATCH)


def main() -> None:
    """Decodes until the process that started this one has ended."""
    what, spec = json.loads(sys.argv[1]), batches.BatchSpec.from_json(sys.argv[2])
    memory, to_parent = int(sys.argv[3]), socket.socket(fileno=int(sys.argv[4]))
    num_slots = what["num_slots"]
    filling = _Filling(slots.Slots(memory, num_slots, spec), to_parent)
    stream = batch_stream.BatchStream(
        wire_client.Client(what["address"]),
        what["table"],
        num_slots,
        spec,
        filling.tell,
        lambda error: to_parent.send(errors.to_json(error)),
        filling.stacks,
    )
    try:
        while to_parent.recv(1):
            stream.ask()
    except OSError:  # the parent was killed before it had read all
        pass
    finally:  # no parent is left to notify, but threads of the stream may be left
        os._exit(0)


if __name__ == "__main__":
    main()
