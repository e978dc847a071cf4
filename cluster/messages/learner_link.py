"""An actor's or evaluator's link to the learner, in a thread of its own."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

from cluster.messages import messages
from replay.reverb import connection, tables, wire

_PERIOD_S = 0.2
_HURRY_S = 0.03
_TIMEOUT_S = 10.0
_JOIN_S = 15.0

Connect = Callable[[Callable[[], bool]], wire.Client]
AnyReport = messages.Report | messages.EvaluatorReport
MakeReports = Callable[[messages.Announcement | None], Sequence[AnyReport]]


class LearnerLink:
    """Fetches the learner's announcement and newest parameters, and sends it reports.

    Reports continue while the actor itself waits: the learner must know of the frames to let it
    play more. A broken connection is reopened, until `close`.

    Attributes:
      is_awaited: whether the process has nothing to do before the next announcement.
    """

    def __init__(
        self,
        connect: Connect,
        shapes: Any,
        reports: MakeReports = lambda announcement: (),
        on_parameters: Callable[[messages.Parameters], None] = lambda parameters: None,
    ):
        """Starts the thread.

        Args:
          connect: gives a client whose server is ready; see replay.reverb.connection.
          shapes: of the parameters, as this process's configuration has them.
          reports: makes those to send now, by the newest announcement; called in the thread.
          on_parameters: gets all parameters that are fetched; called in the thread.
        """
        self._connect = connect
        self._shapes = shapes
        self._reports = reports
        self._on_parameters = on_parameters
        self._closing = threading.Event()
        self.is_awaited = False
        self._announcement: messages.Announcement | None = None
        self._parameters: messages.Parameters | None = None
        self._fetched_at = time.monotonic()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._thread.start()

    @property
    def announcement(self) -> messages.Announcement | None:
        """The newest one whose parameters were fetched; None before the first.

        Raises what ended the thread.
        """
        if self._error is not None:
            raise self._error
        return self._announcement

    @property
    def parameters(self) -> messages.Parameters | None:
        """The newest that were fetched; None before the first."""
        return self._parameters

    @property
    def parameter_age_s(self) -> float:
        """Seconds since the parameters were known to be the newest."""
        return time.monotonic() - self._fetched_at

    def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._talk_until_it_breaks()
        except connection.Stopped:
            pass
        except Exception as error:  # raised by `announcement`
            self._error = error

    def _talk_until_it_breaks(self) -> None:
        try:
            with self._connect(self._closing.is_set) as client, wire.Writer(client) as writer:
                while not self._closing.is_set():
                    self._send_reports(writer)
                    self._fetch(client)
                    self._closing.wait(_HURRY_S if self.is_awaited else _PERIOD_S)
        except (wire.WireUnavailableError, wire.WireTimeoutError) as error:
            logging.warning("%s; trying anew", error)
            self._closing.wait(_PERIOD_S)

    def _send_reports(self, writer: wire.Writer) -> None:
        for report in self._reports(self._announcement):
            writer.insert([writer.arrays(tables.REPORTS, report.encode(), 1.0)], _TIMEOUT_S)
        writer.flush(_TIMEOUT_S)

    def _fetch(self, client: wire.Client) -> None:
        """Fetches the announcement, and the parameters if they are newer than those here."""
        # The learner's first message may be minutes away: it compiles.
        if not client.server_info()[tables.ANNOUNCEMENT].size:
            return
        arrays = messages.latest(client, tables.ANNOUNCEMENT, _TIMEOUT_S)
        announcement = messages.Announcement.decode(arrays)
        if self._parameters is None or self._parameters.version != announcement.version:
            arrays = messages.latest(client, tables.PARAMETERS, _TIMEOUT_S)
            self._parameters = messages.Parameters.decode(arrays, self._shapes)
            self._on_parameters(self._parameters)
        # After them, so that no task is played with the parameters of the one before.
        self._announcement = announcement
        self._fetched_at = time.monotonic()
