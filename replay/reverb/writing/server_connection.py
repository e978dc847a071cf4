"""The connection to one incarnation of the server: how it begins, and how its end is noticed."""

import time
from collections.abc import Callable
from typing import NamedTuple

from replay.reverb import checkpoint_mark, connection, wire
from replay.reverb.wire import insert_stream
from replay.reverb.writing import pausing

Connect = Callable[[pausing.Stop], wire.Client]

_BLOCKED_LOG_S = 60.0
_PROBE_EVERY_S = 2.5
_PROBE_TIMEOUT_S = 2.0
_MAX_REFUSALS = 3


class ServerConnection(NamedTuple):
    """A stream to a server, and what is known of that server.

    Attributes:
      client: of the server.
      stream: for inserts.
      incarnation: of the server.
      mark: what it says that it has.
    """

    client: wire.Client
    stream: insert_stream.InsertStream
    incarnation: int
    mark: checkpoint_mark.Mark

    def close(self) -> None:
        """Ends the stream; what is unconfirmed may or may not arrive."""
        self.stream.close()
        self.client.close()


def open_connection(
    connect: Connect, pauses: pausing.Pauses, stop: pausing.Stop
) -> ServerConnection:
    """Connects, waiting as long as it takes.

    Args:
      connect: gives a client of a server that is ready.
      pauses: how to wait.
      stop: whether to give up.

    Raises:
      connection.Stopped: `stop` said so.
    """
    patience = connection.Patience(pauses.who)
    while True:
        client = connect(lambda: pauses.poll(stop))
        # In this order: a client reconnects by itself to the next server at its address.
        stream = insert_stream.InsertStream(client)
        try:
            incarnation = client.incarnation(_PROBE_TIMEOUT_S)
            return ServerConnection(client, stream, incarnation, checkpoint_mark.read(client))
        except wire.WireError as error:
            patience.report(f"no answer to the first question ({error})")
        stream.close()
        client.close()
        pauses.pause(stop, connection.POLL_S)


class Watch:
    """Finds out whether items stay unconfirmed because the server is gone."""

    def __init__(self, client: wire.Client, who: str, silence_s: float):
        """Begins to wait.

        Args:
          client: of the server.
          who: the name for the log.
          silence_s: after so long without an answer, the server counts as gone.
        """
        self._client = client
        self._silence_s = silence_s
        self._patience = connection.Patience(who, _BLOCKED_LOG_S)
        self._asked = self._answered = time.monotonic()

    def look(self) -> None:
        """Probes the server now and then, and logs that a process is waiting.

        Raises:
          wire.WireTimeoutError: nothing has answered for too long.
        """
        now = time.monotonic()
        if now - self._asked < _PROBE_EVERY_S:
            return
        self._asked = now
        try:
            self._client.incarnation(_PROBE_TIMEOUT_S)
        except wire.WireError as error:
            if time.monotonic() - self._answered > self._silence_s:
                raise wire.WireTimeoutError(
                    f"no answer for {self._silence_s:g} s: {error}"
                ) from error
            return
        self._answered = time.monotonic()
        self._patience.report("the replay server lives, but has confirmed nothing")


class Refusals:
    """Counts how often in a row a server has refused what it was sent."""

    def __init__(self):
        """Starts at none."""
        self._count, self._at = 0, 0

    def count(self, error: wire.WireError, confirmed_through: int) -> None:
        """Counts an error, unless connecting again may help.

        Args:
          error: what ended the stream.
          confirmed_through: the last record that is confirmed; any progress restarts the count.

        Raises:
          wire.WireError: the error, if it is one too many.
        """
        if isinstance(error, wire.WireUnavailableError | wire.WireTimeoutError):
            return
        if confirmed_through != self._at:
            self._count = 0
        self._count += 1
        self._at = confirmed_through
        if self._count >= _MAX_REFUSALS:
            raise error
