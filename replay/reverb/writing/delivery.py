"""Delivers the records of a journal to a server that may go away and come back."""

from absl import logging

from replay.reverb import connection, wire
from replay.reverb.writing import actor_journal, pausing, record_stream, server_connection


class Delivery:
    """Sends a journal's records, reconnecting as often as it takes; for one thread."""

    _server: server_connection.ServerConnection

    def __init__(
        self,
        journal: actor_journal.Journal,
        connect: server_connection.Connect,
        pauses: pausing.Pauses,
        capacity: int,
        max_pending: int,
        silence_s: float,
    ):
        """Does not connect before `open`; the arguments are those of JournaledWriter.

        Args:
          journal: whose records are sent.
          connect: gives a client of a server that is ready.
          pauses: how to wait.
          capacity: items that the server's table holds.
          max_pending: items that may be unconfirmed.
          silence_s: a connection counts as broken after so long without an answer.
        """
        self._journal = journal
        self._connect = connect
        self._pauses = pauses
        self._max_pending = max_pending
        self._silence_s = silence_s
        # The incarnation that this process last connected to; None before the first.
        self._known: int | None = None
        self._records = record_stream.RecordStream(journal, capacity)
        self._refusals = server_connection.Refusals()

    def open(self, stop: pausing.Stop) -> None:
        """Connects. Raises connection.Stopped if `stop` says so."""
        self._reach({}, stop)

    @property
    def num_pending(self) -> int:
        """Items that were sent but not confirmed yet."""
        return self._records.num_pending

    @property
    def confirmed_through(self) -> int:
        """Number of the last record confirmed, with all before it, by the current incarnation.

        Truncated records count as confirmed.
        """
        return self._records.confirmed_through

    def settle(
        self,
        num_pending: int,
        stop: pausing.Stop,
        fresh: record_stream.Outgoing | None = None,
    ) -> None:
        """Sends unsent records and waits for confirmations, reconnecting as needed.

        Args:
          num_pending: how many items may stay unconfirmed.
          stop: whether to give up.
          fresh: the record that was just written.

        Raises:
          connection.Stopped: `stop` said so.
          wire.WireError: the server refuses what it is sent, several times in a row.
        """
        while True:
            try:
                self._send_all(stop, fresh)
                self._wait(num_pending, stop)
                break
            except wire.WireError as error:
                self._reconnect(error, stop)
        self._note_confirmed()

    def repair(self, stop: pausing.Stop) -> None:
        """Connects again if the connection has broken, and sends what the server then lacks.

        Raises:
          connection.Stopped: `stop` said so.
          wire.WireError: the server refuses what it is sent, several times in a row.
        """
        error = self._server.stream.error
        if error is not None:
            self._reconnect(error, stop)
            self.settle(self._max_pending, stop)

    def close(self) -> None:
        """Ends the stream; what is unconfirmed is in the journal."""
        self._server.stream.close()
        self._note_confirmed()
        self._server.client.close()

    def _send_all(self, stop: pausing.Stop, fresh: record_stream.Outgoing | None) -> None:
        for outgoing in self._records.outgoing(fresh):
            num_new = self._records.num_new(outgoing)
            if num_new:
                self._wait(max(self._max_pending - num_new, 0), stop)
            self._records.send(outgoing)

    def _wait(self, num_pending: int, stop: pausing.Stop) -> None:
        """Waits until at most `num_pending` items are unconfirmed.

        Raises:
          wire.WireError: the connection is broken.
        """
        stream = self._server.stream
        if stream.wait(num_pending, 0) <= num_pending:
            return
        watch = server_connection.Watch(self._server.client, self._pauses.who, self._silence_s)
        while stream.wait(num_pending, connection.POLL_S) > num_pending:
            self._pauses.pause(stop, 0)
            self._note_confirmed()
            watch.look()

    def _reconnect(self, error: wire.WireError, stop: pausing.Stop) -> None:
        """Ends the broken stream and opens another.

        Raises:
          wire.WireError: reconnecting does not help: the server keeps refusing what it is sent.
        """
        self._refusals.count(error, self.confirmed_through)
        logging.warning("%s: %s: connecting again", self._pauses.who, error)
        self.close()
        self._pauses.pause(stop, connection.POLL_S)
        self._reach(self._records.unconfirmed, stop)

    def _reach(self, unconfirmed: dict[int, int], stop: pausing.Stop) -> None:
        """Connects, and decides what to send, given the unconfirmed items' keys and records."""
        server = server_connection.open_connection(self._connect, self._pauses, stop)
        is_known = server.incarnation == self._known
        if is_known:
            self._records.resume(server.stream, unconfirmed)
        else:
            if server.incarnation != self._journal.incarnation:
                self._note_server(server, stop)
            self._records.begin(server.stream, server.mark)
        self._server, self._known = server, server.incarnation
        self._report_resending(server.client.address, is_known and bool(unconfirmed))

    def _note_server(self, server: server_connection.ServerConnection, stop: pausing.Stop) -> None:
        """Notes the server, and what it has, before anything is sent to it."""
        confirmed = server.mark.confirmed.get(self._journal.journal_id, 0)
        self._pauses.until_there_is_room(
            lambda: self._journal.set_incarnation(server.incarnation, confirmed),
            stop,
            f"the journal in {self._journal.directory}",
        )

    def _note_confirmed(self) -> None:
        """Notes for the next process what need not be sent again."""
        pausing.unless_full(lambda: self._journal.set_confirmed(self.confirmed_through))

    def _report_resending(self, address: str, is_known: bool) -> None:
        first, last = self._records.unsent
        if first <= last:
            logging.warning(
                "%s: replay server at %s: sending records %d to %d again%s",
                self._pauses.who,
                address,
                first,
                last,
                ", what is unconfirmed of them" if is_known else "",
            )
