"""Publishes the learner's announcement and parameters, in a thread of its own."""

import threading
from collections.abc import Callable

from absl import logging

from cluster.messages import messages
from replay.reverb import connection, tables, wire

_PERIOD_S = 0.25
_TIMEOUT_S = 60.0
_JOIN_S = 15.0

Connect = Callable[[Callable[[], bool]], wire.Client]


class Publisher:
    """Keeps the newest announcement and parameters in the replay server's tables.

    A restored server may have older ones: after each connection both are published again.
    """

    def __init__(self, connect: Connect):
        """Starts the thread; it publishes from the first `set_announcement` on."""
        self._connect = connect
        self._announcement: messages.Announcement | None = None
        self._parameters: messages.Parameters | None = None
        # What the server has of the two, once both were published.
        self._told: tuple[messages.Announcement, messages.Parameters] | None = None
        self._closing = False
        self._is_urgent = False
        # Guards what is to be published.
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def set_announcement(
        self, announcement: messages.Announcement, is_urgent: bool = False
    ) -> None:
        """Publishes the announcement within a quarter of a second, with its version filled in.

        Args:
          announcement: replaces the one before.
          is_urgent: whether to publish at once, as it is waited for.

        Raises:
          Exception: whatever ended the thread, such as a server that refuses what it is sent.
        """
        if self._error is not None:
            raise self._error
        self._announcement = announcement
        if is_urgent:
            with self._changed:
                self._is_urgent = True
                self._changed.notify_all()

    def set_parameters(self, parameters: messages.Parameters) -> None:
        """Publishes the parameters, unless newer ones come before that."""
        with self._changed:
            self._parameters = parameters
            self._changed.notify_all()

    def wait_until_told(self, timeout_s: float) -> bool:
        """Waits until the server has what was set last; returns whether it has."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or self._is_told(), timeout_s)
            return self._is_told()

    def _is_told(self) -> bool:
        told = self._told
        return told is not None and told[0] is self._announcement and told[1] is self._parameters

    def close(self) -> None:
        """Publishes the last announcement once more, if connected, and ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        try:
            while not self._closing:
                self._publish_until_it_breaks()
        except connection.Stopped:
            pass
        except Exception as error:  # raised by `set_announcement`
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _publish_until_it_breaks(self) -> None:
        try:
            with self._connect(lambda: self._closing) as client, wire.Writer(client) as writer:
                published: messages.Parameters | None = None
                while True:
                    is_last = self._closing
                    published = self._publish(writer, published)
                    if is_last:
                        return
                    self._wait(published)
        except (wire.WireUnavailableError, wire.WireTimeoutError) as error:
            logging.warning("%s; trying anew", error)

    def _publish(
        self, writer: wire.Writer, published: messages.Parameters | None
    ) -> messages.Parameters | None:
        """Publishes what is new; returns the parameters that are there now."""
        self._is_urgent = False
        # In this order, so that an announced end never precedes its parameters.
        announcement = self._announcement
        parameters = self._parameters
        if parameters is not None and parameters is not published:
            self._insert(writer, tables.PARAMETERS, parameters)
            published = parameters
        if announcement is not None and published is not None:
            told = announcement._replace(version=published.version)
            self._insert(writer, tables.ANNOUNCEMENT, told)
            with self._changed:
                self._told = announcement, published
                self._changed.notify_all()
        return published

    def _insert(
        self, writer: wire.Writer, table: str, message: messages.Announcement | messages.Parameters
    ) -> None:
        writer.insert([writer.arrays(table, message.encode(), 1.0)], _TIMEOUT_S)
        writer.flush(_TIMEOUT_S)

    def _wait(self, published: messages.Parameters | None) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing or self._is_urgent or self._parameters is not published,
                _PERIOD_S,
            )
