"""Snapshots: whole or not at all, checked when read, shared blocks, clear refusals."""

import errno
import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from core import durable_files, finite
from training.checkpoints import row_blocks, snapshot, state_arrays


def _ring(rows: int, capacity: int = 50, env_ids: int = 2) -> np.ndarray:
    """A ring [1, C, N, 8] in which row r is filled with r."""
    ring = np.zeros((1, capacity, env_ids, 8), np.uint32)
    for row in range(max(0, rows - capacity), rows):
        ring[:, row % capacity] = row
    return ring


def _take(rows: int):
    def take(earlier: Path | None) -> snapshot.Contents:
        return snapshot.Contents(
            counters={"frames": rows},
            arrays={"learner": {"w": np.full(3, rows)}},
            rows=row_blocks.RowBlocks.copy(_ring(rows), rows, earlier),
        )

    return take


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(row_blocks, "_BLOCK_BYTES", 10 * 2 * 8 * 4)  # ten rows a block
    return snapshot.SnapshotStore(tmp_path / "snapshots", keep=2)


def _save(store: snapshot.SnapshotStore, rows: int) -> Path:
    store.save(_take(rows))
    store.wait()
    return store.saved()[0]


def _read(path: Path, rows: int) -> np.ndarray:
    ring = _ring(rows)
    return row_blocks.RowBlocks(ring.shape, ring.dtype, rows, {}).read(path)


def test_numbers_of_16_bits_come_back(tmp_path):
    """NumPy has no bfloat16 of its own, and its files would forget the type."""
    numbers = np.array([1.0, -2.5, 3e30]).astype(jnp.bfloat16)
    store = snapshot.SnapshotStore(tmp_path, keep=1)
    store.save(lambda _: snapshot.Contents({"frames": 1}, {"learner": {"mu": numbers}}))
    store.wait()
    found = snapshot.read_arrays(store.saved()[0], "learner")
    assert found["mu"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(found["mu"], numbers)
    bad = {"mu": np.array([[1.0, np.nan]]).astype(jnp.bfloat16)}
    with pytest.raises(finite.NotFiniteError, match=r"seed 3: learnermu \[1\] = nan"):
        state_arrays.check_finite(bad, "learner", 3)


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 37, 50, 51, 64, 99, 100, 123])
def test_rows_come_back_after_any_number_of_steps(store, rows):
    path = _save(store, rows)
    np.testing.assert_array_equal(_read(path, rows), _ring(rows))


def test_rows_come_back_through_many_snapshots_that_share_blocks(store):
    for rows in (7, 18, 33, 49, 61, 75, 118, 119):
        path = _save(store, rows)
        np.testing.assert_array_equal(_read(path, rows), _ring(rows))


def test_complete_blocks_are_shared_not_written_again(store):
    first, second = _save(store, 35), _save(store, 47)
    shared = "rows_00000001.zst"
    assert (first / shared).stat().st_ino == (second / shared).stat().st_ino
    assert (second / "rows_00000003.zst").stat().st_nlink == 1


def test_blocks_are_copied_where_a_file_can_have_one_name_only(store, monkeypatch):
    def refuse(source, to):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(row_blocks.os, "link", refuse)
    for rows in (18, 33, 61):
        path = _save(store, rows)
        np.testing.assert_array_equal(_read(path, rows), _ring(rows))


def test_only_the_newest_are_kept_and_their_blocks_live_on(store):
    for rows in (20, 30, 40):
        path = _save(store, rows)
    assert [int(p.name) for p in store.saved()] == [40, 30]
    np.testing.assert_array_equal(_read(path, 40), _ring(40))


def test_leftovers_of_an_interrupted_write_are_no_snapshot(tmp_path, store):
    _save(store, 20)
    leftover = tmp_path / "snapshots" / "000000000030.tmp"
    leftover.mkdir()
    (leftover / "learner.npz").write_bytes(b"half")
    again = snapshot.SnapshotStore(tmp_path / "snapshots", keep=2)
    assert [int(p.name) for p in again.saved()] == [20]
    assert not leftover.exists()


def test_one_that_was_being_replaced_is_whole_before_or_after(tmp_path, store, monkeypatch):
    _save(store, 20)
    one = tmp_path / "snapshots" / f"{20:012d}"
    with monkeypatch.context() as patch:
        patch.setattr(snapshot.Path, "rename", _killed_at_the_second())
        with pytest.raises(snapshot.SnapshotError):
            _save(store, 20)
    assert not one.exists()
    again = snapshot.SnapshotStore(tmp_path / "snapshots", keep=2)
    assert [int(p.name) for p in again.saved()] == [20]
    np.testing.assert_array_equal(_read(one, 20), _ring(20))
    _save(again, 20)
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == [one.name]


def _killed_at_the_second():
    """Path.rename, which fails when it is called for the second time."""
    rename, calls = snapshot.Path.rename, []

    def call(path, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError("killed")
        return rename(path, target)

    return call


def _damage(path: Path, name: str, how: str) -> None:
    file = path / name
    data = file.read_bytes()
    if how == "truncated":
        file.write_bytes(data[:-3])
    elif how == "changed":
        file.write_bytes(data[:5] + bytes([data[5] ^ 1]) + data[6:])
    else:
        file.unlink()


@pytest.mark.parametrize("how", ["truncated", "changed", "missing"])
@pytest.mark.parametrize("name", ["learner.npz", "rows_00000004_45.zst", "manifest.json"])
def test_damaged_newest_falls_back_to_the_one_before(store, caplog, name, how):
    if (name, how) == ("manifest.json", "changed"):
        pytest.skip("a changed digit of JSON may still be JSON; the files' checksums tell then")
    _save(store, 25)
    newest = _save(store, 45)
    _damage(newest, name, how)
    used = store.restore(lambda path, counters: (path, counters))
    assert used[1] == {"frames": 25}
    assert [int(p.name) for p in store.saved()] == [25]
    assert newest.with_suffix(".damaged").exists()


def test_one_that_can_not_be_read_now_is_waited_for(store, monkeypatch):
    """The next start may read it; to go on from the one before would lose what is between."""
    _save(store, 25)
    newest = _save(store, 45)

    def read(path):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(durable_files, "checksum_of", read)
        with pytest.raises(snapshot.SnapshotError, match=r"can't be read: .*Input/output error"):
            store.restore(lambda path, counters: counters)
    assert store.saved()[0] == newest
    assert store.restore(lambda path, counters: counters) == {"frames": 45}


def test_a_run_whose_snapshots_are_gone_is_not_begun_anew(tmp_path):
    store = snapshot.of_run(tmp_path, keep=2)
    assert store.restore(lambda path, counters: counters) is None
    _save(store, 800)
    shutil.rmtree(tmp_path / "snapshots")
    again = snapshot.of_run(tmp_path, keep=2)
    with pytest.raises(snapshot.SnapshotError, match=r"expected a snapshot, .* at frame 800; with"):
        again.restore(lambda path, counters: counters)


def test_a_second_damaged_one_of_the_same_frame_is_moved_away_too(store):
    _save(store, 25)
    for ending in (".damaged", ".damaged_1", ".damaged_2"):
        newest = _save(store, 45)
        _damage(newest, "learner.npz", "truncated")
        assert store.restore(lambda path, counters: counters) == {"frames": 25}
        assert newest.with_suffix(ending).exists()


def test_all_damaged_is_an_error_not_a_new_start(store):
    for rows in (25, 45):
        _damage(_save(store, rows), "learner.npz", "truncated")
    with pytest.raises(snapshot.SnapshotError, match=r"no usable snapshot.*learner\.npz"):
        store.restore(lambda path, counters: path)
    assert len(store.saved()) == 2


def test_no_snapshot_is_no_error(store):
    assert store.restore(lambda path, counters: path) is None


def test_failed_write_leaves_earlier_snapshots_and_is_reported(store, monkeypatch):
    _save(store, 20)

    def no_space(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", no_space)
    store.save(_take(30))
    with pytest.raises(snapshot.SnapshotError, match="No space left on device"):
        store.wait()
    assert [int(p.name) for p in store.saved()] == [20]
    assert not list(store.saved()[0].parent.glob("*.tmp"))


def test_other_shapes_are_named(tmp_path):
    expected = {"w": np.zeros((3, 4), np.float32), "b": np.zeros(3)}
    found = {"w": np.zeros((3, 5), np.float32), "b": np.zeros(3)}
    with pytest.raises(snapshot.SnapshotError, match=r"w is float32\[3, 5\].*float32\[3, 4\]"):
        snapshot.check_fits(tmp_path, expected, found)
    with pytest.raises(snapshot.SnapshotError, match="b is nothing"):
        snapshot.check_fits(tmp_path, expected, {"w": expected["w"]})


def test_another_format_is_refused(store):
    path = _save(store, 20)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(snapshot.SnapshotError, match="format 99"):
        snapshot.verify(path)
