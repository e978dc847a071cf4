"""Where rows go besides the CSV files: read back, and continued."""

import importlib.util
import json
import struct
import time

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from configs import probe
from core import checks
from envs import base as envs_base
from training import derived, run_settings
from training.logs import csv_log, run_recorder
from training.logs.sinks import json_lines, tensorboard, weights_and_biases

_LOSS = 0.25


def _record(path, frames, logs, **changes):
    """An episode, a row of train and one of a layer at these frames."""
    config = probe.get_config()
    config.update_from_flattened_dict(changes)
    settings = run_settings.parse(derived.resolve(config))
    recorder = run_recorder.Recorder(path, settings, logs, ("loss", "learning_rate"))
    counters = {"frames": frames, "updates": frames // 4, "task": 0}
    recorder.episode(counters, envs_base.Episode(0, 3.0, 16))
    metrics = {"loss": np.array([_LOSS]), "learning_rate": np.array([1e-3])}
    recorder.learned(counters, metrics)
    recorder.interval(counters, np.array([7]), {})
    layers = {"norm": {"a": np.array([2.0])}, "learning_rate": {"a": np.array([4e-3])}}
    recorder.layers(counters, layers)
    recorder.close()


def _logs(frames):
    return dict.fromkeys(run_recorder.LOGS, frames)


def test_json_lines_are_the_rows_of_the_csv_files(tmp_path):
    _record(tmp_path, 800, _logs(0), **{"log.json_lines": True})
    for name in ("train", "episodes", "layers"):
        (row,) = csv_log.read_rows(tmp_path / f"{name}.csv")
        (found,) = map(json.loads, (tmp_path / f"{name}.jsonl").read_text().splitlines())
        assert {key: str(value) for key, value in found.items()} == row
    (train,) = map(json.loads, (tmp_path / "train.jsonl").read_text().splitlines())
    assert (train["loss"], train["episodes"], train["game"]) == (_LOSS, 1, "1")


def test_a_number_that_is_not_finite_is_null(tmp_path):
    sink = json_lines.JsonLines(tmp_path, {"train": 0})
    sink.add("train", {"frames": 4, "loss": float("nan"), "rate": np.float64(0.5)})
    assert json.loads((tmp_path / "train.jsonl").read_text()) == {
        "frames": 4,
        "loss": None,
        "rate": 0.5,
    }


def test_json_lines_of_a_continued_run_end_at_its_snapshot(tmp_path):
    first = json_lines.JsonLines(tmp_path, {"train": -1})
    for frames in (100, 200, 300):
        first.add("train", {"frames": frames})
    with (tmp_path / "train.jsonl").open("a") as stream:
        stream.write('{"frames": 4')
    again = json_lines.JsonLines(tmp_path, {"train": 200})
    again.add("train", {"frames": 250})
    rows = map(json.loads, (tmp_path / "train.jsonl").read_text().splitlines())
    assert [row["frames"] for row in rows] == [100, 200, 250]


def _events(path):
    """{tag: (step, value)} of a file of events: records of length, checksum, data, checksum."""
    (file,) = path.iterdir()
    data, found = file.read_bytes(), {}
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        for value in event.summary.value:
            found[value.tag] = (event.step, value.simple_value)
        data = data[16 + length :]
    return found


def test_tensorboard_has_numbers_by_frames_but_no_counts(tmp_path):
    _record(tmp_path, 800, _logs(0), **{"log.tensorboard": True, "seed": 5})
    found = _events(tmp_path / "tensorboard")
    assert found["train/loss/seed_5"] == (800, _LOSS)
    assert found["layers/a/norm/seed_5"] == (800, 2.0)
    assert not [tag for tag in found if "updates" in tag or tag.startswith("episodes")]


def test_a_continued_run_keeps_the_row_of_its_snapshot_in_tensorboard(tmp_path, monkeypatch):
    """What is dropped begins behind it."""
    asked = []
    writer = lambda path, purge_step, **_: asked.append(purge_step)  # noqa: E731
    monkeypatch.setattr(tensorboard.tensorboardX, "SummaryWriter", writer)
    for frames in (-1, 0, 800):
        tensorboard.TensorBoard(tmp_path, frames)
    assert asked == [None, None, 801]


def test_processes_that_begin_in_the_same_second_have_files_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1e9)
    sinks = []
    for pid in (11, 12):
        monkeypatch.setattr(tensorboard.os, "getpid", lambda pid=pid: pid)
        sinks.append(tensorboard.TensorBoard(tmp_path, -1))
    for sink in sinks:
        sink.add("train", {"frames": 4, "seed": 1, "loss": 0.5})
        sink.close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_nothing_is_written_that_was_not_asked_for(tmp_path):
    _record(tmp_path, 800, _logs(0), **{"log.tensorboard": False})
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes == {".csv"}


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_weights_and_biases_that_is_not_installed(monkeypatch, mode):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(checks.ConfigError, match=rf"^log\.wandb = '{mode}': .*'\.\[wandb\]'\)$"):
        weights_and_biases.check(mode)
    weights_and_biases.check("off")


needs_wandb = pytest.mark.skipif(
    importlib.util.find_spec("wandb") is None, reason="the package wandb is not installed"
)


_BLOCK, _FILE_HEADER, _RECORD_HEADER = 32_768, 7, 7


def _stored(data):
    """The records of a file in LevelDB's log format: parts with checksum, length and place."""
    at, parts = _FILE_HEADER, b""
    while at + _RECORD_HEADER <= len(data):
        if _BLOCK - at % _BLOCK < _RECORD_HEADER:
            at += _BLOCK - at % _BLOCK
            continue
        _, length, place = struct.unpack("<IHB", data[at : at + _RECORD_HEADER])
        at += _RECORD_HEADER
        parts += data[at : at + length]
        at += length
        if place in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def _sent(path):
    """The rows that offline runs in a directory have written, by run, and the runs' groups."""
    from wandb.proto import wandb_internal_pb2

    rows, groups = {}, set()
    for file in sorted(path.glob("wandb/offline-run-*/*.wandb")):
        identity = file.stem.removeprefix("run-")
        for data in _stored(file.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.HasField("run"):
                assert record.run.run_id == identity
                groups.add((record.run.run_group, record.run.job_type))
            if record.HasField("history"):
                items = record.history.item
                row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
                rows.setdefault(identity, []).append(row)
    return rows, groups


@needs_wandb
def test_weights_and_biases_offline(tmp_path, monkeypatch):
    """Two starts, the second from a snapshot before the first's end, are one run."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    for frames in (800, 400):
        _record(tmp_path, frames, _logs(0), **{"log.wandb": "offline", "name": "mine"})
        # Files of a start are named by its second.
        time.sleep(1)
    rows, groups = _sent(tmp_path)
    assert groups == {("mine", "training")}
    ((identity, found),) = rows.items()
    assert identity == (tmp_path / "wandb_training.id").read_text()
    losses = [
        (row["frames"], row["train/loss/seed_1"]) for row in found if "train/loss/seed_1" in row
    ]
    assert sorted(losses) == [(400, _LOSS), (800, _LOSS)]
    norms = [row["layers/a/norm/seed_1"] for row in found if "layers/a/norm/seed_1" in row]
    assert norms == [2.0, 2.0]


@needs_wandb
def test_weights_and_biases_without_a_login(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(checks.ConfigError, match=r"^log\.wandb = 'online': No API key"):
        weights_and_biases.WeightsAndBiases(tmp_path, "online", "training", "mine", {})
