"""Reading what runs have written, whole or not."""

import json

import numpy as np
import pytest

from analysis import run_records
from core import checks


def test_a_run_is_read_whole(make_run):
    path = make_run("data_efficient", "pong", 3, [(100, 0, None, -5.0), (200, 0, None, 2.5)])
    run = run_records.load(path)
    assert (run.name, run.games, run.seeds, run.is_sequence) == (
        "data_efficient",
        ("pong",),
        (3,),
        False,
    )
    assert run.is_finished
    assert list(run.evaluations()) == [
        run_records.Evaluation(100, 0, "pong", 3, -5.0, 5),
        run_records.Evaluation(200, 0, "pong", 3, 2.5, 5),
    ]
    assert run.starts[0]["commit"] == "0123456789abcdef"


def test_rows_without_game_and_task_are_of_the_runs_own_game(make_run):
    path = make_run("data_efficient", "pong", 1, [])
    (path / "evaluation.csv").write_text("frames,seed,mean_return,episodes\n100,1,3.0,5\n")
    assert list(run_records.load(path).evaluations()) == [
        run_records.Evaluation(100, 0, "pong", 1, 3.0, 5)
    ]


def test_half_written_lines_are_left_out(make_run):
    path = make_run("data_efficient", "pong", 1, [(100, 0, None, 1.0)])
    with (path / "evaluation.csv").open("a") as stream:
        stream.write("200,0,po")
    with (path / "provenance.jsonl").open("a") as stream:
        stream.write('{"commit": "01')
    run = run_records.load(path)
    assert len(list(run.evaluations())) == 1
    assert len(run.starts) == 1


def test_an_empty_file_has_no_rows(make_run):
    path = make_run("data_efficient", "pong", 1, [])
    (path / "evaluation.csv").write_text("")
    assert list(run_records.load(path).evaluations()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "config.json").unlink(), "expected the directory of a run"),
        (lambda path: (path / "config.json").write_text("{"), "config.json: damaged"),
        (lambda path: (path / "config.json").write_text("[1]"), "expected the configuration"),
        (lambda path: (path / "train.csv").unlink(), "has not logged anything"),
    ],
)
def test_what_is_no_run_is_refused(make_run, damage, message):
    path = make_run("data_efficient", "pong", 1, [])
    damage(path)
    with pytest.raises(checks.ConfigError, match=message):
        run_records.load(path)


def test_keys_that_follow_others_are_as_in_the_newest_start(make_run):
    path = make_run("continual_rainbow", "small", 1, [])
    assert json.loads((path / "config.json").read_text())["num_frames"] is None
    longer = {"resolved": {"num_frames": 360_000, "optimizer.schedule.duration": 45_000}}
    with (path / "provenance.jsonl").open("a") as stream:
        stream.write(json.dumps(longer) + "\n")
    run = run_records.load(path)
    assert run.config["num_frames"] == 360_000
    assert run.config["optimizer"]["schedule"]["duration"] == 45_000
    assert not run.is_finished
    (path / "provenance.jsonl").unlink()
    with pytest.raises(checks.ConfigError, match=r"provenance.jsonl: does not tell .* num_frames"):
        run_records.load(path)


def test_find_keeps_the_order_of_its_arguments(make_run, tmp_path):
    for name, seed in (("rainbow", 2), ("rainbow", 1), ("data_efficient", 1)):
        make_run(name, "pong", seed, [])
    root = tmp_path / "runs"
    found = run_records.find([root / "rainbow", root / "data_efficient"])
    assert [(run.name, run.seeds[0]) for run in found] == [
        ("rainbow", 1),
        ("rainbow", 2),
        ("data_efficient", 1),
    ]
    with pytest.raises(checks.ConfigError, match="expected a directory with runs"):
        run_records.find([tmp_path / "nothing"])


def test_runs_that_have_only_begun_are_passed_over(make_run, tmp_path):
    make_run("rainbow", "pong", 1, [])
    begun = make_run("rainbow", "pong", 2, [])
    (begun / "train.csv").unlink()
    assert [run.seeds for run in run_records.find([tmp_path / "runs"])] == [(1,)]
    with pytest.raises(checks.ConfigError, match="no run there has logged anything"):
        run_records.find([begun])


def test_columns_are_numbers_where_all_are(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2.5,y\n")
    table = run_records.read_table(tmp_path / "t.csv")
    np.testing.assert_array_equal(table["a"], [1.0, 2.5])
    assert table["b"].tolist() == ["x", "y"]
    assert run_records.read_table(tmp_path / "none.csv") == {}


def test_a_run_given_twice_is_one(make_run):
    path = make_run("data_efficient", "pong", 1, [])
    other = make_run("data_efficient", "pong", 2, [])
    found = run_records.find_directories([other, path.parent, path / ".." / path.name])
    assert found == [other, path]
