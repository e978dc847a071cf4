"""The parent's side of a process that draws and decodes batches.

The two share memory for the batches and a socket. A byte from the parent requests a batch; a byte
from the child says that the next slot has one, and JSON what ended the stream.
"""

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from replay.reverb.sampling import batches, slots
from replay.reverb.wire import errors, wire_client

BATCH = b"."
"""The byte for a batch, requested or filled."""

_ROOT = Path(__file__).parents[3]
_JOIN_S = 5.0
_MAX_MESSAGE = 1 << 16


class DecoderProcess:
    """Draws batches, no more than are requested, and decodes them in a process of its own.

    It takes no Python time from this process, and ends when this one does, however this one ends.
    """

    def __init__(
        self,
        client: wire_client.Client,
        table: str,
        num_batches: int,
        spec: batches.BatchSpec,
        on_batch: Callable[[batches.DrawnBatch], object],
        on_end: Callable[[errors.WireError], object],
    ):
        """Starts the process.

        Args:
          client: of the server; the process has a connection of its own.
          table: its name.
          num_batches: to request at first; no more may be outstanding.
          spec: of the batches.
          on_batch: called with each, in a thread.
          on_end: called with the cause when the stream, or the process, has ended, in that thread.
        """
        self._on_batch, self._on_end = on_batch, on_end
        self._doing = f"decoding samples of {table!r} from {client.address}"
        # Keeps message boundaries, as multiprocessing's pipes do.
        self._socket, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = os.memfd_create("batches")
        try:
            os.truncate(memory, slots.num_bytes(num_batches, spec))
            self._slots = slots.Slots(memory, num_batches, spec)
            what = {"address": client.address, "table": table, "num_slots": num_batches}
            self._process = _start(json.dumps(what), json.dumps(spec), memory, there.fileno())
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(memory)
            there.close()
        self._thread = threading.Thread(target=self._read, name="replay-decoder", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Requests one more batch; not before one that came has been used."""
        try:
            self._socket.send(BATCH)
        except OSError:  # it has ended, which the thread reports
            return

    def close(self) -> None:
        """Ends the process; samples on their way are lost, though counted."""
        self._process.kill()
        self._process.wait()
        self._thread.join(_JOIN_S)
        self._socket.close()

    def _read(self) -> None:
        """Takes batches until the process reports an error or ends; runs in a thread."""
        try:
            error = self._take_batches()
        except Exception as failure:  # else nobody would know that no more come
            error = errors.WireError(f"{self._doing}: {failure!r}")
        self._on_end(error)

    def _take_batches(self) -> errors.WireError:
        """Passes batches on; returns what ended them."""
        numbers = itertools.count()
        while (message := self._receive()) == BATCH:
            self._on_batch(self._slots.copy(next(numbers)))
        if message:
            return errors.from_json(message)
        code = self._process.wait()
        # A signal may come from outside; any other exit would happen again.
        kind = errors.WireUnavailableError if code < 0 else errors.WireError
        return kind(f"{self._doing}: the process ended with {code}")

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_MAX_MESSAGE)
        except OSError:
            return b""


def _start(what: str, spec: str, *files: int) -> subprocess.Popen:
    """Starts the process, which inherits the files: the memory, and its end of the socket."""
    return subprocess.Popen(
        [sys.executable, "-m", "replay.reverb.sampling.decode", what, spec, *map(str, files)],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=files,
        # Ctrl-C is for its parent, whose end it notices.
        start_new_session=True,
    )
