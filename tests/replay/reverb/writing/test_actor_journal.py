"""The journal: what a killed process leaves, full disks, damage."""

import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from replay.reverb.writing.actor_journal import Journal, JournalError, JournalInUseError


def fill(journal, begin, end):
    for i in range(begin, end):
        journal.append(content(i), {"frames": 4 * i, "episodes": -i})


def content(i):
    return bytes([i % 256]) * (i % 7)


def read(journal, after_seq):
    return [(seq, record.content) for seq, record in journal.records(after_seq)]


def check(journal, first, last):
    """Has exactly those records, the first being the next after `first - 1`."""
    assert read(journal, first - 1) == [(i, content(i)) for i in range(first, last + 1)]
    assert journal.last_seq == last


def segments(directory):
    return sorted(directory.glob("*.segment"))


def test_records_come_back_in_order_over_many_processes(tmp_path):
    journal_ids = set()
    for begin in range(1, 40, 13):
        with Journal(tmp_path, segment_bytes=200) as journal:
            journal_ids.add(journal.journal_id)
            fill(journal, begin, begin + 13)
            check(journal, 1, begin + 12)
            assert read(journal, begin) == [(i, content(i)) for i in range(begin + 1, begin + 13)]
            assert journal.counters == {"frames": 4 * (begin + 12), "episodes": -begin - 12}
    assert len(segments(tmp_path)) > 5
    assert len(journal_ids) == 1
    assert 0 < journal_ids.pop() < 2**63
    with Journal(tmp_path) as journal:
        for seq in range(1, 40):
            assert next(journal.records(journal.segment_of(seq) - 1))[0] <= seq
        assert journal.segment_of(40) == journal.segment_of(journal.last_seq + 1)


def test_another_directory_has_another_id(tmp_path):
    with Journal(tmp_path / "a") as a, Journal(tmp_path / "b") as b:
        assert a.journal_id != b.journal_id


def test_one_process_at_a_time(tmp_path):
    module = "replay.reverb.writing.actor_journal"
    code = f"import {module} as j; j.Journal(j.Path({str(tmp_path)!r}))"
    with Journal(tmp_path):
        with pytest.raises(JournalInUseError, match="another process uses this journal"):
            Journal(tmp_path)
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert f"{tmp_path}: another process uses this journal" in ended.stderr
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("num_records", [0, 1, 5])
def test_a_half_written_tail_is_cut_off_wherever_it_ends(tmp_path, num_records):
    with Journal(tmp_path / "whole") as journal:
        fill(journal, 1, num_records + 1)
        begin = segments(tmp_path / "whole")[0].stat().st_size if num_records else 0
        journal.append(b"last", {"frames": 9, "episodes": 9})
    (path,) = segments(tmp_path / "whole")
    for size in range(begin, path.stat().st_size):
        copy = tmp_path / str(size)
        shutil.copytree(tmp_path / "whole", copy)
        os.truncate(copy / path.name, size)
        with Journal(copy) as journal:
            check(journal, 1, num_records)
            expected = {"frames": 4 * num_records, "episodes": -num_records}
            assert journal.counters == (expected if num_records else {})
            fill(journal, num_records + 1, num_records + 3)
        with Journal(copy) as journal:
            check(journal, 1, num_records + 2)


def test_a_tail_of_zeros_is_cut_off(tmp_path):
    """What some file systems leave when the machine crashes."""
    with Journal(tmp_path) as journal:
        fill(journal, 1, 4)
    (path,) = segments(tmp_path)
    os.truncate(path, path.stat().st_size + 1000)
    with Journal(tmp_path) as journal:
        check(journal, 1, 3)


def test_what_was_synced_must_be_there(tmp_path):
    with Journal(tmp_path) as journal:
        fill(journal, 1, 6)
        journal.sync()
        fill(journal, 6, 8)
    (path,) = segments(tmp_path)
    size = path.stat().st_size
    os.truncate(path, size - 1)
    Journal(tmp_path).close()
    os.truncate(path, size // 2)
    with pytest.raises(JournalError, match=rf"{path}: ends with record [0-4], but 5 were written"):
        Journal(tmp_path)


@pytest.mark.parametrize("segment_bytes", [120, 10**6])
def test_damage_in_the_middle_is_told(tmp_path, segment_bytes):
    with Journal(tmp_path / "whole", segment_bytes) as journal:
        fill(journal, 1, 7)
    first = segments(tmp_path / "whole")[0]
    last = Journal(tmp_path / "whole", segment_bytes)
    last.close()
    end = first.stat().st_size
    if segment_bytes > end:  # the last record may be half-written
        end -= 16 + len('{"frames": 24, "episodes": -6}') + 6
    for offset in range(end):
        copy = tmp_path / str(offset)
        shutil.copytree(tmp_path / "whole", copy)
        damaged = bytearray(first.read_bytes())
        damaged[offset] ^= 0x10
        (copy / first.name).write_bytes(damaged)
        with pytest.raises(JournalError, match=rf"{copy / first.name}: offset \d+: "):
            read_all(copy, segment_bytes)


def read_all(directory, segment_bytes):
    with Journal(directory, segment_bytes) as journal:
        list(journal.records(0))


def test_missing_files_are_told(tmp_path):
    with Journal(tmp_path, segment_bytes=100) as journal:
        fill(journal, 1, 10)
    paths = segments(tmp_path)
    content_1 = paths[1].read_bytes()
    paths[1].unlink()
    with Journal(tmp_path) as journal, pytest.raises(JournalError, match=str(paths[0])):
        list(journal.records(0))
    paths[1].write_bytes(content_1)
    paths[0].unlink()
    with pytest.raises(JournalError, match=rf"{paths[0]}: missing"):
        Journal(tmp_path)
    (tmp_path / "state").unlink()
    with pytest.raises(JournalError, match="state: missing, though there are segments"):
        Journal(tmp_path)


def test_segments_are_dropped_when_they_are_wholly_through(tmp_path):
    with Journal(tmp_path, segment_bytes=150) as journal:
        fill(journal, 1, 20)
        starts = [int(path.stem) for path in segments(tmp_path)]
        assert len(starts) > 3
        journal.truncate(starts[1] - 2)
        assert len(segments(tmp_path)) == len(starts)
        assert journal.truncated == starts[1] - 2
        journal.truncate(starts[2])
        assert [int(path.stem) for path in segments(tmp_path)] == starts[2:]
        check(journal, starts[2], 19)
        journal.truncate(3)  # long past
        with pytest.raises(ValueError, match="through_seq = 20: expected at most 19"):
            journal.truncate(20)
    with Journal(tmp_path, segment_bytes=150) as journal:
        assert journal.truncated == starts[2]
        check(journal, starts[2], 19)
        journal.truncate(19)
        assert segments(tmp_path) == []
        assert list(journal.records(0)) == []
        assert journal.segment_of(journal.last_seq + 1) == journal.segment_of(20) == 20
    with Journal(tmp_path, segment_bytes=150) as journal:
        assert (journal.last_seq, journal.truncated, journal.confirmed) == (19, 19, 19)
        assert journal.counters == {"frames": 76, "episodes": -19}
        journal.append(content(20))
        check(journal, 20, 20)
    with Journal(tmp_path) as journal:
        assert journal.counters == {"frames": 76, "episodes": -19}
        check(journal, 20, 20)


def test_a_truncation_that_was_interrupted_is_completed(tmp_path, monkeypatch):
    with Journal(tmp_path, segment_bytes=150) as journal:
        fill(journal, 1, 20)
        count = len(segments(tmp_path))
        middle = int(segments(tmp_path)[2].stem)
        monkeypatch.setattr(Path, "unlink", interrupt)
        with pytest.raises(KeyboardInterrupt):
            journal.truncate(middle)
        assert len(segments(tmp_path)) == count
        monkeypatch.undo()
    with Journal(tmp_path, segment_bytes=150) as journal:
        assert len(segments(tmp_path)) == count - 2
        check(journal, middle, 19)


def interrupt(*_):
    raise KeyboardInterrupt


def test_what_is_confirmed_is_of_one_incarnation(tmp_path):
    with Journal(tmp_path) as journal:
        assert (journal.incarnation, journal.confirmed) == (None, 0)
        fill(journal, 1, 10)
        journal.set_incarnation(2**128 - 1)
        journal.set_confirmed(7)
    with Journal(tmp_path) as journal:
        assert (journal.incarnation, journal.confirmed) == (2**128 - 1, 7)
        journal.truncate(5)
        assert journal.confirmed == 7
        journal.set_incarnation(4)
        assert journal.confirmed == 5
        journal.set_incarnation(3, confirmed=6)
        assert journal.confirmed == 6
        journal.set_confirmed(9)
    (path,) = segments(tmp_path)
    os.truncate(path, path.stat().st_size - 1)  # and record 9 comes anew
    with Journal(tmp_path) as journal:
        assert (journal.incarnation, journal.confirmed) == (3, 8)


def test_a_torn_change_of_the_state_leaves_the_one_before(tmp_path):
    with Journal(tmp_path) as journal:
        fill(journal, 1, 10)
        for seq in (1, 2, 3):
            journal.set_confirmed(seq)
    state = tmp_path / "state"
    whole = state.read_bytes()
    newest = 4096 if b'"confirmed": 3' in whole[4096:] else 0
    damaged = whole[: newest + 20] + b"?" + whole[newest + 21 :]
    state.write_bytes(damaged)
    with Journal(tmp_path) as journal:
        assert journal.confirmed == 2
    state.write_bytes(b"?" * len(whole))
    with pytest.raises(JournalError, match="state: offset 0: damaged"):
        Journal(tmp_path)


class FullDisk:
    """os.pwrite on a disk that has room for so many bytes."""

    def __init__(self, monkeypatch, room):
        self.room = room
        self.real = os.pwrite
        monkeypatch.setattr(os, "pwrite", self)

    def __call__(self, descriptor, view, offset):
        if offset + len(view) <= os.fstat(descriptor).st_size:  # it has the room already
            return self.real(descriptor, view, offset)
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self.real(descriptor, view[: self.room], offset)
        self.room -= written
        return written


def test_what_a_full_disk_took_of_a_record_is_cut_off(tmp_path, monkeypatch):
    with Journal(tmp_path, segment_bytes=150) as journal:
        for i in range(1, 20):
            for room in (0, 1, 17, 40):
                with monkeypatch.context() as patched:
                    FullDisk(patched, room)
                    before = {path: path.stat().st_size for path in segments(tmp_path)}
                    with pytest.raises(OSError, match="No space left"):
                        journal.append(content(i) + bytes(150), {"frames": 1})
                after = {path: path.stat().st_size for path in segments(tmp_path)}
                # A new segment may have got its first lines.
                assert {path: after[path] for path in before} == before
                check(journal, 1, i - 1)
            fill(journal, i, i + 1)
    with Journal(tmp_path) as journal:
        check(journal, 1, 19)
        assert journal.counters == {"frames": 76, "episodes": -19}


def append_forever(journal):
    while True:
        journal.append(bytes(5000), {"frames": journal.last_seq + 1})


def test_a_real_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("can't mount a small disk")
    try:
        with Journal(disk / "journal") as journal:
            with pytest.raises(OSError, match="No space left") as failure:
                append_forever(journal)
            assert failure.value.errno == errno.ENOSPC
            count = journal.last_seq
            assert count > 5
            journal.set_confirmed(count)
            journal.truncate(count)  # makes room
            journal.append(b"more", {"frames": count + 1})
        with Journal(disk / "journal") as journal:
            assert read(journal, 0) == [(count + 1, b"more")]
            assert journal.counters == {"frames": count + 1}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_killed_process_leaves_whole_records(tmp_path):
    code = """
import itertools, os, pathlib, sys
from replay.reverb.writing.actor_journal import Journal
with Journal(pathlib.Path(sys.argv[1]), segment_bytes=20000) as journal:
    for i in itertools.count(journal.last_seq + 1):
        assert journal.append(i.to_bytes(8, "big") * 100, {"frames": i}) == i
        print(i, flush=True)
"""
    told = 0
    for seconds in (0.1, 0.02, 0.2):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        lines = io.TextIOWrapper(process.stdout.buffer)
        first = [lines.readline() for _ in range(2)]
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        # The last line may be half of one.
        told = int([*first, *lines.read().splitlines()][-2])
        process.wait()
        with Journal(tmp_path) as journal:
            assert journal.last_seq >= told
            assert journal.counters == {"frames": journal.last_seq}
            for i, (seq, record) in enumerate(read(journal, 0), start=1):
                assert (seq, record) == (i, i.to_bytes(8, "big") * 100)
            assert i == journal.last_seq
    assert len(segments(tmp_path)) > 1
