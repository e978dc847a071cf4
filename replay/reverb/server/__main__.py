"""The replay server: stock Reverb with tables as described, restored, confined and announced.

Runs in an environment of its own (make replay-env); the only file that imports reverb.

  .venv-replay/bin/python -m replay.reverb.server --port=0 --ready_file=/tmp/replay.port \
      --checkpoint_dir=runs/replay --tables='[{"name": "parameters", "kind": "latest"}]'
"""

import argparse
import fcntl
import os
import re
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from replay.reverb.server import checkpoint_files, confine, ports
from replay.reverb.server import tables as tables_lib

# Reverb deletes all but the newest entry of its directory, and treats the path as a pattern.
_CHECKPOINT_NAME = re.compile(r"\d{4}-\d{2}-\d{2}T.*")
_PATTERN_CHARACTERS = frozenset("*?[]\\")
_FAILED, _REFUSED, _HELD = 1, 2, 6  # as in training/system/exit_codes.py


class _InUseError(RuntimeError):
    """Another server, perhaps one that is about to end, has the checkpoints."""


def main() -> int:
    """Serves until SIGTERM or SIGINT.

    Returns:
      If it can't serve: 2 for an argument that never will do, 1 for what may next time, 6 while
      another server uses the directory.
    """
    args = _arguments()
    try:
        _check_ready_file(args.ready_file)
        tables = tables_lib.parse(args.tables)
        addresses = confine.resolve(args.address)
        _lock_directory(args.checkpoint_dir)
        # Nobody writes them any more, and none is ever loaded.
        checkpoint_files.remove_unfinished(args.checkpoint_dir)
        _check_port(args.port)
        server = _start(args, tables)
        port = _confine(args.port, addresses)
        _wait_for_signal(args.ready_file, port)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        if isinstance(error, _InUseError):
            return _HELD
        return _REFUSED if isinstance(error, ValueError) else _FAILED
    # Not by server.stop(), nor by dropping it: that would confirm queued items that are then never
    # inserted.
    assert server
    os._exit(0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="replay.reverb.server", allow_abbrev=False)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--address", default="localhost", help="where to be reached; 0.0.0.0: all")
    parser.add_argument("--tables", required=True, help="JSON; see replay/reverb/server/tables.py")
    parser.add_argument("--checkpoint_dir", type=Path, required=True, help="of this server alone")
    parser.add_argument("--ready_file", type=Path, required=True, help="gets the port when serving")
    return parser.parse_args()


def _check_ready_file(path: Path) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"ready_file = {str(path)!r}: expected it in a directory that exists")
    path.unlink(missing_ok=True)


def _lock_directory(path: Path) -> None:
    """Checks that the directory is a checkpoint root, and locks it while this process lives."""
    if _PATTERN_CHARACTERS & set(str(path.absolute())):
        raise ValueError(f"checkpoint_dir = {str(path)!r}: expected none of * ? [ ] \\ in it")
    path.mkdir(parents=True, exist_ok=True)
    strange = sorted(p.name for p in path.iterdir() if not _CHECKPOINT_NAME.fullmatch(p.name))
    if strange:
        raise ValueError(
            f"checkpoint_dir = {str(path)!r}: expected checkpoints alone, as all else in it would "
            f"be deleted; it has {strange[0]!r}"
        )
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise _InUseError(f"checkpoint_dir = {str(path)!r}: another server uses it") from error


def _check_port(port: int) -> None:
    error = ports.trouble(port)
    if error is not None:
        kind = ValueError if isinstance(error, OverflowError) else RuntimeError
        raise kind(f"port = {port}: expected a free one, or 0 for any: {error}") from error


def _start(args: argparse.Namespace, tables: list[tables_lib.Table]) -> Any:
    """The server, with the contents of the newest checkpoint."""
    reverb = _import_reverb()
    built = [_build(reverb, table) for table in tables]
    _check_checkpoint(args.checkpoint_dir, {table.name: table.info for table in built})
    checkpointer = reverb.checkpointers.DefaultCheckpointer(str(args.checkpoint_dir))
    try:
        return reverb.Server(built, args.port, checkpointer)
    except (RuntimeError, ValueError) as error:
        where = f"port = {args.port}, checkpoint_dir = {str(args.checkpoint_dir)!r}"
        raise RuntimeError(f"{where}: Reverb does not start: {error}") from error


def _confine(port: int, addresses: list[confine.Address] | None) -> int:
    """Restricts the server to its addresses, if not None; returns its port."""
    listeners = confine.listening(port)
    if not listeners:
        raise RuntimeError("the server listens on no port")
    try:
        if addresses is not None:
            confine.confine(listeners, addresses)
        return listeners[0].getsockname()[1]
    except OSError as error:
        raise ValueError(
            f"address: this system can't keep a server to one ({error}): expected 0.0.0.0, for all"
        ) from error
    finally:
        for listener in listeners:
            listener.close()


def _import_reverb() -> Any:
    """Imports reverb, which takes seconds: TensorFlow without its logs and without a GPU."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # Checkpoints are named by local time, and the newest is the last by name: when clocks are set
    # back, Reverb would delete the one it has just written.
    os.environ["TZ"] = "UTC"
    try:
        import reverb
    except ImportError as error:
        raise ValueError(f"{error}: expected the interpreter of make replay-env") from error
    return reverb


def _build(reverb: Any, table: tables_lib.Table) -> Any:
    """The described table, empty."""
    selectors = reverb.selectors
    prioritized = table.kind == "prioritized"
    sampler = selectors.Prioritized(table.priority_exponent) if prioritized else selectors.Fifo()
    return reverb.Table(
        name=table.name,
        sampler=sampler,
        remover=selectors.Fifo(),  # a second one: sharing one would hang at the first insert
        max_size=table.max_size,
        rate_limiter=reverb.rate_limiters.MinSize(table.min_size),
        max_times_sampled=1 if table.kind == "queue" else 0,
    )


def _check_checkpoint(directory: Path, infos: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of other tables: Reverb would silently serve those instead.

    Args:
      directory: the checkpoint root.
      infos: the described tables' reverb.TableInfo by name.
    """
    found = checkpoint_files.whole(directory)
    if not found:
        return
    path = found[-1]
    stored = _stored_tables(path)
    described = {name: _settings(info, info.rate_limiter_info) for name, info in infos.items()}
    if set(stored) != set(described):
        raise ValueError(
            f"checkpoint {path}: its tables are {', '.join(sorted(stored))}, described are "
            f"{', '.join(sorted(described))}: expected the same"
        )
    for name, settings in stored.items():
        for key, value in settings.items():
            if value != described[name][key]:
                raise ValueError(
                    f"checkpoint {path}: table {name!r} has {key} = {value}, described is "
                    f"{described[name][key]}: expected the same"
                )


def _stored_tables(path: Path) -> dict[str, dict[str, Any]]:
    """The settings of a checkpoint's tables by name."""
    import tensorflow
    from google.protobuf import message
    from reverb.cc.checkpointing import checkpoint_pb2

    file = str(path / "tables.tfrecord")
    try:
        records = tensorflow.data.TFRecordDataset(file, compression_type="ZLIB")
        parse = checkpoint_pb2.PriorityTableCheckpoint.FromString
        stored = [parse(record) for record in records.as_numpy_iterator()]
    except (tensorflow.errors.OpError, message.DecodeError) as error:
        raise RuntimeError(f"checkpoint {path}: it is damaged: {error}") from error
    return {table.table_name: _settings(table, table.rate_limiter) for table in stored}


def _settings(table: Any, limiter: Any) -> dict[str, Any]:
    """What must not change, of a reverb.TableInfo or a PriorityTableCheckpoint."""
    sampler = table.sampler_options if hasattr(table, "sampler_options") else table.sampler
    return {
        "max_size": table.max_size,
        "max_times_sampled": table.max_times_sampled,
        "sampler": " ".join(str(sampler).split()),
        "min_size": limiter.min_size_to_sample,
        # Of servers of earlier versions, which blocked inserts.
        "largest difference of inserts and samples": limiter.max_diff,
    }


def _wait_for_signal(ready_file: Path, port: int) -> None:
    """Writes the port to the file atomically, and removes the file when asked to end.

    The signal's number comes through a socket, so it is seen whichever thread it interrupts.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    temporary = ready_file.with_name(f"{ready_file.name}.{os.getpid()}")
    temporary.write_text(f"{port}\n")
    temporary.replace(ready_file)
    receiver.recv(1)
    ready_file.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
