"""CSV files continue where a snapshot stands."""

import pytest

from training.logs import csv_log


def test_rows_after_the_snapshot_are_dropped(tmp_path):
    path = tmp_path / "x.csv"
    log = csv_log.CsvLog(path, "frames", 0)
    for frames in (10, 20, 30):
        log.append({"frames": frames, "loss": frames / 10})
    again = csv_log.CsvLog(path, "frames", 20)
    again.append({"loss": 9.0, "frames": 25})
    rows = csv_log.read_rows(path)
    assert [row["frames"] for row in rows] == ["10", "20", "25"]
    assert [row["loss"] for row in rows] == ["1.0", "2.0", "9.0"]


def test_half_written_last_row_is_dropped(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("frames,a,b\r\n10,1,2\r\n20,3")
    csv_log.CsvLog(path, "frames", 100).append({"frames": 20, "a": 5, "b": 6})
    assert path.read_text().splitlines() == ["frames,a,b", "10,1,2", "20,5,6"]


def test_a_number_that_was_cut_is_no_row(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("frames,a\r\n10,1.25\r\n20,12")
    assert csv_log.read_rows(path) == [{"frames": "10", "a": "1.25"}]


def test_new_run_in_the_place_of_one_without_snapshot_starts_anew(tmp_path):
    path = tmp_path / "x.csv"
    csv_log.CsvLog(path, "frames", 0).append({"frames": 10, "a": 1})
    csv_log.CsvLog(path, "frames", 0).append({"frames": 10, "b": 2})
    assert path.read_text().splitlines() == ["frames,b", "10,2"]


def test_other_columns_are_refused(tmp_path):
    log = csv_log.CsvLog(tmp_path / "x.csv", "frames", 0)
    log.append({"frames": 1, "a": 1})
    with pytest.raises(ValueError, match="'a', 'b'"):
        log.append({"frames": 2, "b": 1})
