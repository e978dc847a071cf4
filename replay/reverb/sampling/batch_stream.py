"""A sample stream's batches, decoded in the stream's thread."""

from collections.abc import Callable
from typing import Any

from replay.reverb.sampling import batches
from replay.reverb.wire import errors, sample_stream, wire_client


class BatchStream:
    """Draws batches, no more than are requested, and decodes them in the stream's thread.

    A second thread would contend with the stream's for Python's lock at every chunk.
    """

    def __init__(
        self,
        client: wire_client.Client,
        table: str,
        num_batches: int,
        spec: batches.BatchSpec,
        on_batch: Callable[[batches.DrawnBatch], object],
        on_end: Callable[[errors.WireError], object],
        allocate: batches.Allocate | None = None,
    ):
        """Opens the stream.

        Args:
          client: of the server.
          table: its name.
          num_batches: to request at first.
          spec: of the batches.
          on_batch: called with each, in the stream's thread.
          on_end: called with the cause when the stream has ended, in that thread.
          allocate: as for batches.BatchDecoder.
        """
        self._decoder, self._on_batch = batches.BatchDecoder(spec, allocate), on_batch
        self._batch_size = spec.batch_size
        count = num_batches * spec.batch_size
        self._stream = sample_stream.SampleStream(client, table, count, self._decode, on_end)

    def ask(self) -> None:
        """Requests one more batch; may be called from any thread."""
        self._stream.ask(self._batch_size)

    def close(self) -> None:
        """Ends the stream; samples on their way are lost, though counted."""
        self._stream.close()

    def _decode(self, response: Any) -> None:
        for batch in self._decoder.feed(response):
            self._on_batch(batch)
