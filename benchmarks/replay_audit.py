"""Checks that the replay server has every transition of a run's actors, each once.

After the run has ended, its server is started alone, from its checkpoint, the actors' journals are
sent to it, as by restarted actors, and what it then has is compared with what they have had.
"""

import contextlib
import functools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import launched_run
from cluster.supervision import processes
from replay.reverb import connection, tables, wire
from replay.reverb.wire import messages
from replay.reverb.writing import actor_journal, journaled_writer, pausing

_WHO = "audit"
_START_S = 120.0
_SEND_S = 600.0
_MANY = 1_000


class Audit(NamedTuple):
    """What was found.

    Attributes:
      journaled: transitions that were ever put into the journals.
      sent: of them, the most that the restored server was sent from the journals.
      expected: of them, those that the table should have: all, or as many as it holds.
      stored: transitions in the server's table.
      lost: of those expected, those that the table does not have.
      doubled: in the table beyond those.
      frames, episodes: as the journals have counted them.
    """

    journaled: int
    sent: int
    expected: int
    stored: int
    lost: int
    doubled: int
    frames: int
    episodes: int


class _Account(NamedTuple):
    """The keys of the items that a journal still has, and its counters."""

    keys: list[int]
    counters: dict[str, int]


def audit(launch: launched_run.Launch) -> Audit:
    """Counts what a run's replay has; the run may be continued afterwards.

    Args:
      launch: of the run; none of its processes may be alive. The table must never have been
        cleared. Where several actors have filled it, the transitions are only counted: nobody
        knows which are the newest of all.

    Raises:
      TimeoutError, wire.WireError: the server does not start, or does not take what it is sent.
    """
    with _replay_role(launch), _client(launch) as client:
        paths = sorted((launch.run_dir / "actors").iterdir())
        capacity = client.server_info()[tables.TRANSITIONS].max_size
        sent = [_send(path, launch, capacity) for path in paths]
        accounts = [_read(path) for path in paths]
        return _compare(client, accounts, sum(sent))


@contextlib.contextmanager
def _replay_role(launch: launched_run.Launch) -> Iterator[None]:
    """The run's replay server, alone."""
    (launch.run_dir / "replay" / "address").unlink(missing_ok=True)
    command = [*launch.command, "--role=replay", "--index=0"]
    role = processes.Process(command, launch.log)
    try:
        yield
    finally:
        role.send(signal.SIGTERM)
        role.wait()


def _connect(launch: launched_run.Launch, stop: pausing.Stop) -> wire.Client:
    return connection.connect(launch.run_dir / "replay" / "address", stop, _WHO)


def _client(launch: launched_run.Launch) -> wire.Client:
    patience = connection.Patience(_WHO)
    try:
        return _connect(launch, lambda: patience.seconds > _START_S)
    except connection.Stopped as error:
        raise TimeoutError(f"no replay server\n{launch.tail()}") from error


def _send(path: Path, launch: launched_run.Launch, capacity: int) -> int:
    """Sends what the server may lack of a journal; returns how many transitions that is."""
    connect = functools.partial(_connect, launch)
    patience = connection.Patience(_WHO)
    with actor_journal.Journal(path) as opened:
        records = opened.records(opened.truncated)
        num_items = sum(len(_items(record.content)) for _, record in records)
        with journaled_writer.JournaledWriter(
            opened, connect, lambda: patience.seconds > _SEND_S, _WHO, capacity, _MANY
        ) as writer:
            writer.flush(_SEND_S)
    return num_items


def _items(record: bytes) -> list[int]:
    """The keys of a record's items."""
    return [item.key for item in messages.InsertRequest.FromString(record).items]


def _read(path: Path) -> _Account:
    with actor_journal.Journal(path) as opened:
        keys = [key for _, record in opened.records(0) for key in _items(record.content)]
        return _Account(keys, opened.counters)


def _compare(client: wire.Client, accounts: list[_Account], sent: int) -> Audit:
    """Deletes the journals' items from the table: what is left are those that they have dropped."""
    table = client.server_info()[tables.TRANSITIONS]
    journaled = sum(account.counters.get("transitions", 0) for account in accounts)
    expected = min(journaled, table.max_size)
    keys = [key for account in accounts for key in account.keys][-expected:]
    if journaled > table.max_size and len(accounts) > 1:
        keys = []
    for begin in range(0, len(keys), _MANY):
        client.delete(tables.TRANSITIONS, keys[begin : begin + _MANY])
    left = client.server_info()[tables.TRANSITIONS].size
    others = expected - len(keys)
    return Audit(
        journaled=journaled,
        sent=sent,
        expected=expected,
        stored=table.size,
        lost=len(keys) - (table.size - left) + max(0, others - left),
        doubled=max(0, left - others),
        frames=sum(account.counters.get("frames", 0) for account in accounts),
        episodes=sum(account.counters.get("episodes", 0) for account in accounts),
    )
