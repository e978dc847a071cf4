"""Drawing samples for the server's count of them alone."""

from replay.wire import client as client_lib
from replay.wire import errors, sample_stream


class Discard:
    """Draws items of one table; they are received, but not decoded."""

    def __init__(self, client: client_lib.Client, table: str, count: int):
        """Asks for `count` samples."""
        self._error: errors.WireError | None = None
        self._stream = sample_stream.SampleStream(
            client, table, count, lambda response: None, self._end
        )

    def __enter__(self) -> "Discard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def left(self) -> int:
        """How many have not come yet.

        Raises:
          errors.WireError: the stream broke before all had come.
        """
        if self._error is not None and self._stream.left > 0:
            raise self._error
        return self._stream.left

    def close(self) -> None:
        """Ends the stream."""
        self._stream.close()

    def _end(self, error: errors.WireError) -> None:
        self._error = error
