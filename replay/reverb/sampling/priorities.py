"""Turns priorities into the weights that the server draws by, and sends them to it.

With priority p, exponent a and a share u of uniform sampling, a transition's weight is w = p**a and
what the server stores is s = (1 - u) * w + u * m, where m is the mean of w over the table: it draws
in proportion to s. The sum of s over the table follows from any sample, s / probability, and so
does m; a batch's new weights are included in m before they are mixed with it.
"""

import collections
import itertools
import threading
import time
from typing import Any

import numpy as np

from core import finite
from replay.reverb.sampling import batches
from replay.reverb.wire import errors, wire_client

_JOIN_S = 5.0
# Batches by which the host may be ahead of the device.
_MAX_UNCOMPUTED = 2


class SamplingWeights:
    """The weights of new and updated transitions. Threads may share it."""

    def __init__(self, priority_exponent: float, uniform_mix: float):
        """Starts as for an empty table.

        Args:
          priority_exponent: a; the probability is proportional to priority**a.
          uniform_mix: u, the share of uniform sampling.
        """
        self._exponent = priority_exponent
        self._uniform_mix = uniform_mix
        # Guards the three below, so that they stay consistent.
        self._lock = threading.Lock()
        self._table_size = 0
        self.reset()

    @property
    def largest(self) -> float:
        """The largest priority seen; 1 before any."""
        return self._largest

    @property
    def mean(self) -> float:
        """The mean of priority**a over the table, as far as it is known."""
        return self._mean

    def reset(self) -> None:
        """Starts anew, after the table was cleared."""
        self.restore(largest=1.0, mean=1.0)

    def restore(self, largest: float, mean: float) -> None:
        """Continues from the `largest` and the `mean` before a restart."""
        with self._lock:
            self._largest, self._mean, self._table_size = float(largest), float(mean), 0

    def of_new(self) -> float:
        """The stored weight of a new transition: that of the largest priority seen."""
        with self._lock:
            return self._mixed(self._largest**self._exponent)

    def observe(self, batch: batches.DrawnBatch) -> None:
        """Derives the mean from the probabilities of the batch's transitions."""
        totals = batch.weights / batch.probabilities
        with self._lock:
            self._table_size = batch.table_size
            self._mean = float(np.mean(totals)) / batch.table_size

    def update(
        self, keys: np.ndarray, old_weights: np.ndarray, priorities: np.ndarray
    ) -> np.ndarray:
        """Includes new priorities; exact if all of the table's transitions are among them.

        Args:
          keys: uint64 [B]; for duplicates, the largest priority counts.
          old_weights: their stored weights [B] until now.
          priorities: [B], finite and >= 0.

        Returns:
          The weights to store, float64 [B].

        Raises:
          NotFiniteError: a priority is not finite.
          ValueError: one is negative.
        """
        priorities = _checked(priorities)
        if not len(keys):
            return np.zeros(0)
        unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        largest = np.zeros(len(unique))
        np.maximum.at(largest, inverse, priorities)
        new = largest**self._exponent
        with self._lock:
            self._largest = max(self._largest, float(np.max(largest)))
            # Until something is observed, the mean stays as it was set.
            if self._table_size:
                change = float(np.sum(new) - np.sum(old_weights[first]))
                self._mean = max(0.0, self._mean + change / self._table_size)
            return self._mixed(new)[inverse]

    def _mixed(self, weights: Any) -> Any:
        return (1 - self._uniform_mix) * weights + self._uniform_mix * self._mean


def _checked(priorities: np.ndarray) -> np.ndarray:
    priorities = np.asarray(priorities, np.float64)
    finite.check("priorities", priorities)
    if np.any(priorities < 0):
        raise ValueError(f"priority = {priorities.min()}: expected a finite number >= 0")
    return priorities


class PrioritySender:
    """Sends the priorities of batches to the server, in a thread of its own.

    Priorities computed while a call is under way go with the next one, so that latency to the
    server does not limit the batches per second.

    An error in the thread is raised by the next `put` or `drain`, and by all later ones: make
    another sender. The priorities that were on their way are lost then.
    """

    def __init__(
        self,
        client: wire_client.Client,
        table: str,
        weights: SamplingWeights,
        max_queue: int = 8,
    ):
        """Starts the thread.

        Args:
          client: of the server.
          table: its name.
          weights: turns priorities into stored weights; updated from the batches.
          max_queue: batches that may wait to be sent.
        """
        if max_queue < 1:
            raise ValueError(f"max_queue = {max_queue}: expected an integer >= 1")
        self._client, self._table, self._weights = client, table, weights
        self._max_queue = max_queue
        # The first ones are being sent.
        self._queue: collections.deque[tuple[batches.DrawnBatch, Any]] = collections.deque()
        self._error: Exception | None = None
        self._is_closed = False
        # Guards all that the thread changes.
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="replay-priorities", daemon=True)
        self._thread.start()

    def __enter__(self) -> "PrioritySender":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, batch: batches.DrawnBatch, priorities: Any, timeout_s: float = 60.0) -> None:
        """Queues priorities to send; waits if the server lags behind, or the device by two batches.

        Args:
          batch: as it was taken.
          priorities: its new ones [B], numpy or jax, finite and >= 0. They need not be computed
            yet: the thread waits for them.
          timeout_s: how long to wait, in seconds.

        Raises:
          errors.WireTimeoutError: there was no room in time.
          errors.WireError: an earlier batch's could not be sent.
          NotFiniteError, ValueError: an earlier batch's were not valid.
        """
        self._wait(self._max_queue - 1, timeout_s)
        with self._changed:
            self._queue.append((batch, priorities))
            self._changed.notify_all()
            earlier = [values for _, values in self._queue][:-_MAX_UNCOMPUTED]
        if earlier:  # once the last is computed, so are those before it
            np.asarray(earlier[-1])

    def drain(self, timeout_s: float = 60.0) -> None:
        """Waits until all are sent. Raises as `put`."""
        self._wait(0, timeout_s)

    def close(self) -> None:
        """Ends the thread; what is still unsent is dropped (see `drain`)."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(_JOIN_S)

    def _wait(self, num_left: int, timeout_s: float) -> None:
        """Waits until at most `num_left` batches are left to send."""
        begin = time.monotonic()
        with self._changed:
            self._changed.wait_for(
                lambda: self._error or self._is_closed or len(self._queue) <= num_left, timeout_s
            )
            if self._error is not None:
                raise self._error
            if self._is_closed:
                raise ValueError("priorities can't be sent after close")
            if len(self._queue) > num_left:
                raise errors.WireTimeoutError(
                    f"sending priorities to {self._client.address}: {len(self._queue)} batches "
                    f"left after {time.monotonic() - begin:.3g} s"
                )

    def _run(self) -> None:
        """Sends until it is closed, or fails."""
        while self._wait_for_work():
            try:
                num_sent = self._send()
            except Exception as error:  # also of a failed computation on the device
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                for _ in range(num_sent):
                    self._queue.popleft()
                self._changed.notify_all()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._queue)
            return not self._is_closed

    def _send(self) -> int:
        """Sends the oldest batch's, and the next ones computed by then; returns how many."""
        np.asarray(self._queue[0][1])
        with self._changed:
            work = list(itertools.takewhile(lambda pair: _is_computed(pair[1]), self._queue))
        updates: dict[int, float] = {}
        for batch, priorities in work:
            self._weights.observe(batch)
            stored = self._weights.update(batch.keys, batch.weights, np.asarray(priorities))
            updates.update(zip(batch.keys.tolist(), stored.tolist()))
        self._client.update_priorities(self._table, updates.keys(), updates.values())
        return len(work)


def _is_computed(values: Any) -> bool:
    # JAX arrays have is_ready; others are always computed.
    return not hasattr(values, "is_ready") or values.is_ready()
