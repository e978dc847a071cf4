"""Locks on files, also where the file system only seems to have flock."""

import errno
import fcntl
import os
import threading

import pytest

from core import checks, locks


def test_a_lock_that_another_holds_is_told_from_other_errors(tmp_path):
    path = tmp_path / "lock"
    assert not locks.is_held(path)
    with locks.hold(path, "taken"):
        assert locks.is_held(path)
        with pytest.raises(locks.HeldError, match="taken"), locks.hold(path, "taken", 0.0):
            pass
        with pytest.raises(locks.HeldError, match="taken"):
            locks.await_free(path, "taken", 0.0)
    assert not locks.is_held(path)
    with pytest.raises(checks.ConfigError) as error, locks.hold(tmp_path, "taken"):
        pass
    assert not isinstance(error.value, locks.HeldError)


def test_who_only_looks_keeps_no_one_from_a_lock(tmp_path):
    """`is_held` has it for a moment."""
    path, stop = tmp_path / "lock", threading.Event()

    def look():
        while not stop.is_set():
            locks.is_held(path)

    path.touch()
    lookers = [threading.Thread(target=look) for _ in range(2)]
    for thread in lookers:
        thread.start()
    try:
        for _ in range(50):
            with locks.hold(path, "taken", 60.0):
                pass
    finally:
        stop.set()
        for thread in lookers:
            thread.join()


def test_locks_are_looked_at_as_nfs_allows(tmp_path, monkeypatch):
    """NFS locks ranges of bytes instead: what is open to be read can't be locked exclusively."""
    flock = fcntl.flock

    def nfs(descriptor, kind):
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        if kind & fcntl.LOCK_EX and mode == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", nfs)
    path = tmp_path / "lock"
    for _ in range(2):
        with locks.hold(path, "taken"):
            assert locks.is_held(path)
        assert not locks.is_held(path)


def test_a_lock_that_may_only_be_read_is_looked_at_too(tmp_path):
    path = tmp_path / "lock"
    with locks.hold(path, "taken"):
        path.chmod(0o444)
        assert locks.is_held(path)
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    assert locks.is_held(tmp_path)
    os.close(directory)
    assert not locks.is_held(tmp_path)
