"""The learner's link to the replay server: batches, their priorities, and the actors' reports."""

import time
from collections.abc import Callable
from typing import Any

import jax
from dm_env import specs

from cluster import context, distributed_settings
from cluster.messages import messages
from replay.reverb import checkpoint_mark, tables, wire
from replay.reverb.sampling import batch_reader, batches, priorities

_MAX_REPORTS_AHEAD = 64
_DECODERS_OF_ACCELERATOR = 2
_ANSWER_S = 5.0
_TIMEOUT_S = 60.0
# Without a batch for this long, though there are enough transitions, a stream is taken for broken.
_NO_BATCH_S = 60.0


class ReplayReader:
    """Streams to one incarnation of the server; when they break, `open` makes new ones.

    Attributes:
      client, incarnation: of the server, once it is open.
      mark: of this server.
    """

    client: wire.Client
    incarnation: int
    mark: checkpoint_mark.Mark

    def __init__(
        self,
        role: context.Role,
        spec: specs.Array,
        weights: priorities.SamplingWeights,
        stop: Callable[[], bool],
    ):
        """Connects to nothing yet.

        Args:
          role: the learner's.
          spec: of one environment's newest observation.
          weights: turns priorities into sampling weights.
          stop: whether the process was asked to end.
        """
        self._role, self._spec, self._weights, self._stop = role, spec, weights, stop
        self._opened: list[Any] = []
        # Since when there has been no batch, by time.monotonic; None: there was one.
        self._lacking_since: float | None = None

    def open(self) -> None:
        """Connects, waiting as long as it takes; replaces what was open before.

        Raises:
          connection.Stopped: the process was asked to end.
          wire.WireError: the connection broke again.
        """
        self.close()
        role = self._role
        self.client = role.connect(self._stop)
        self._opened.append(self.client)
        self.incarnation = self.client.incarnation()
        self.mark = checkpoint_mark.read(self.client)
        self._reports = wire.Sampler(self.client, tables.REPORTS, _MAX_REPORTS_AHEAD)
        self._opened.append(self._reports)
        self._open_streams()

    def _open_streams(self) -> None:
        settings, distributed = self._role.settings, self._role.distributed
        self._sender = priorities.PrioritySender(self.client, tables.TRANSITIONS, self._weights)
        self._opened.append(self._sender)
        self._reader = batch_reader.BatchReader(
            self.client,
            tables.TRANSITIONS,
            self._spec,
            settings.transition.frame_stack,
            settings.replay.batch_size,
            distributed.prefetch_batches,
            _num_decoders(distributed),
        )
        self._opened.append(self._reader)
        self._lacking_since = None

    def batch(self, timeout_s: float) -> batches.DrawnBatch | None:
        """The next batch; None if there is none in time. Raises WireError."""
        try:
            batch = self._reader.take(timeout_s)
        except wire.WireTimeoutError:
            return None
        self._lacking_since = None
        return batch

    def is_short(self) -> bool:
        """Whether there is no batch because the table has too few transitions to draw from.

        Raises:
          wire.WireTimeoutError: it has enough, and there has been no batch for long.
          wire.WireError: the connection broke.
        """
        table = self.client.server_info(_ANSWER_S)[tables.TRANSITIONS]
        now = time.monotonic()
        if table.size < table.min_size or self._lacking_since is None:
            self._lacking_since = now
        elif now - self._lacking_since > _NO_BATCH_S:
            raise wire.WireTimeoutError(f"{self.client.address}: no batch for {_NO_BATCH_S:g} s")
        return table.size < table.min_size

    def prioritize(self, batch: batches.DrawnBatch, new_priorities: Any) -> None:
        """Queues the batch's new priorities [B]; they may not be computed yet."""
        self._sender.put(batch, new_priorities, _TIMEOUT_S)

    def drain(self) -> None:
        """Waits until all new priorities are sent. Raises WireError."""
        self._sender.drain(_TIMEOUT_S)

    def poll_reports(self) -> list[messages.Report | messages.EvaluatorReport]:
        """The reports since the last call. Raises WireError."""
        # Asks for one even if there is none: a broken stream then raises what broke it.
        try:
            taken = self._reports.take(max(1, self._reports.num_ready), 0.0)
        except wire.WireTimeoutError:
            return []
        return [messages.decode_report(sampled.columns) for sampled in taken]

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return bool(self._opened)

    def check(self) -> None:
        """Raises WireError if the server does not answer, or was restarted."""
        if self.client.incarnation(_ANSWER_S) != self.incarnation:
            raise wire.WireUnavailableError(f"{self.client.address}: the server was restarted")

    def clear(self, first_task: int) -> None:
        """Empties the table, and drops the batches that were drawn from it.

        Args:
          first_task: transitions of earlier ones must not enter it from now on.
        """
        for stream in (self._reader, self._sender):
            self._opened.remove(stream)
            stream.close()
        self.client.reset(tables.TRANSITIONS, _TIMEOUT_S)
        self._weights.reset()
        self._open_streams()
        # Last, as it says that all this is done.
        self.set_mark(checkpoint_mark.Mark(first_task, is_saved=False))

    def set_mark(self, mark: checkpoint_mark.Mark) -> None:
        """Replaces the server's mark. Raises WireError."""
        checkpoint_mark.write(self.client, mark)
        self.mark = mark

    def close(self) -> None:
        """Ends all streams, and the connection."""
        while self._opened:
            self._opened.pop().close()


def _num_decoders(distributed: distributed_settings.DistributedSettings) -> int:
    if distributed.decoder_processes >= 0:
        return distributed.decoder_processes
    most = 0 if jax.default_backend() == "cpu" else _DECODERS_OF_ACCELERATOR
    return min(most, distributed.prefetch_batches)
