"""Whose a run's directory is, what may differ from its config.json, and that old ones are read."""

import json
from pathlib import Path

import pytest

from analysis import run_records
from configs import rainbow_nap_schedule
from core import checks
from training import derived, run_directory

_RESULTS = Path(__file__).parents[2] / "docs" / "results" / "comparison" / "runs"
_DURATION = "optimizer.schedule.duration"


def _config(**changes):
    config = rainbow_nap_schedule.get_config().copy_and_resolve_references()
    config.update_from_flattened_dict({"num_frames": 1_000, **changes})
    return config


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"num_frames": 2_000}),
        ({}, {_DURATION: 1_000}),
        ({_DURATION: 1_000}, {}),
        ({_DURATION: 700}, {_DURATION: 700, "num_frames": 2_000}),
    ],
)
def test_the_same_run(tmp_path, before, after):
    run_directory.claim(tmp_path / "run", _config(**before))
    run_directory.claim(tmp_path / "run", _config(**after))


def test_the_order_of_an_interventions_keys_says_nothing(tmp_path):
    """As in `{"module": ..., "at_frames": ...}`: in the file they are sorted."""
    for intervention in ({"module": "l2", "begin": 1}, {"begin": 1, "module": "l2"}):
        run_directory.claim(tmp_path / "run", _config(interventions=(intervention,)))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({}, {_DURATION: 700}, "is 1000 (not given) there, asked for 700"),
        ({_DURATION: 700}, {}, "is 700 there, asked for 1000 (not given)"),
        ({_DURATION: 1_000}, {"num_frames": 2_000}, "is 1000 there, asked for 2000 (not given)"),
        ({_DURATION: 700}, {_DURATION: 800}, "is 700 there, asked for 800"),
    ],
)
def test_another_run(tmp_path, before, after, message):
    path = tmp_path / "run"
    run_directory.claim(path, _config(**before))
    text = (path / "config.json").read_bytes()
    with pytest.raises(checks.ConfigError) as error:
        run_directory.claim(path, _config(**after))
    assert str(error.value) == (
        f"run_dir = {str(path)!r}: belongs to another configuration: {_DURATION} {message}"
    )
    assert (path / "config.json").read_bytes() == text


def test_the_file_has_the_config_as_given_and_is_read_resolved(tmp_path):
    run_directory.claim(tmp_path / "run", _config())
    given = json.loads((tmp_path / "run" / "config.json").read_text())
    assert given["optimizer"]["schedule"]["duration"] is None
    assert run_directory.read_config(tmp_path / "run").optimizer.schedule.duration == 1_000


@pytest.mark.parametrize("path", sorted(_RESULTS.glob("*/*/seed_1")), ids=lambda p: p.parts[-3])
def test_runs_of_earlier_versions_are_read(path):
    """Which gave every key, and had others."""
    given = json.loads((path / "config.json").read_text())
    assert run_directory.read_config(path).to_dict()["num_frames"] == given["num_frames"]
    run = run_records.load(path)
    assert run.config == given
    assert run.is_finished


def test_a_run_from_before_a_key_has_its_default_and_goes_on(tmp_path):
    config = _config()
    run_directory.claim(tmp_path / "run", config)
    file = tmp_path / "run" / "config.json"
    given = json.loads(file.read_text())
    del given["task_switch"]["restart_exploration"]
    del given["network"]["norm"]["statistics"]
    del given["evaluation"]
    given["optimizer"]["kwargs"] = {"eps": 1e-3}
    file.write_text(json.dumps(given))
    found = run_directory.read_config(tmp_path / "run")
    assert found.task_switch.restart_exploration is False
    assert found.network.norm.statistics == "learned"
    assert found.evaluation.episodes > 0
    # Arguments of an optimizer have no defaults of ours.
    assert found.optimizer.kwargs.to_dict() == {"eps": 1e-3}
    config.optimizer.kwargs = {"eps": 1e-3}
    run_directory.check(tmp_path / "run", config)
    config.task_switch.restart_exploration = True
    message = r"task_switch\.restart_exploration is false there, asked for true"
    with pytest.raises(checks.ConfigError, match=message):
        run_directory.check(tmp_path / "run", config)


def test_what_changed_between_two_starts_is_in_the_provenance(tmp_path):
    """The length and what follows it, evaluation and logs; each against the start before."""
    starts = ({}, {"num_frames": 2_000, "evaluation.episodes": 5}, {"num_frames": 2_000})
    for number, changes in enumerate(starts):
        config = _config(**changes)
        run_directory.claim(tmp_path / "run", config)
        run_directory.append_provenance(tmp_path / "run", derived.resolve(config))
        if number == 0:
            episodes = config.evaluation.episodes
    lines = run_records.read_starts(tmp_path / "run" / "provenance.jsonl")
    assert [line["changed"] for line in lines] == [
        {},
        {"num_frames": [1_000, 2_000], "evaluation.episodes": [episodes, 5]},
        {"evaluation.episodes": [5, episodes]},
    ]
    assert [line["resolved"][_DURATION] for line in lines] == [1_000, 2_000, 2_000]


def test_a_start_after_a_full_disk_is_on_record(tmp_path):
    config = _config()
    run_directory.claim(tmp_path / "run", config)
    file = tmp_path / "run" / "provenance.jsonl"
    run_directory.append_provenance(tmp_path / "run", derived.resolve(config))
    whole = file.read_text()
    file.write_text(whole + whole[:40])
    run_directory.append_provenance(tmp_path / "run", derived.resolve(config))
    assert len(run_records.read_starts(file)) == 2
    assert file.read_text().startswith(whole)


def test_code_that_git_does_not_know_is_an_uncommitted_change(monkeypatch):
    for status, expected in (("", False), ("?? notes.txt", False), ("?? agents/mine.py", True)):
        monkeypatch.setattr(run_directory, "_git", lambda *_, answer=status: answer)
        assert run_directory.code_and_machine()["uncommitted_changes"] == expected


def test_a_repository_around_an_installation_says_nothing_of_its_code(monkeypatch):
    monkeypatch.setattr(run_directory, "_ROOT", run_directory._ROOT / "training")
    found = run_directory.code_and_machine()
    assert (found["commit"], found["uncommitted_changes"]) == ("unknown", False)


def test_damaged_config_is_told(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(checks.ConfigError, match="damaged, not JSON"):
        run_directory.read_config(tmp_path)
