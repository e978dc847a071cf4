"""What benchmarks refuse before they measure, and the files they write."""

import pytest

from benchmarks import machine, prepared
from core import checks


def test_unknown_names_and_places_are_refused(tmp_path):
    assert machine.choose("only", [], ["a", "b"]) == ["a", "b"]
    assert machine.choose("only", ["b"], ["a", "b"]) == ["b"]
    with pytest.raises(checks.ConfigError, match=r"only = 'c': expected some of a, b"):
        machine.choose("only", ["c"], ["a", "b"])
    with pytest.raises(checks.ConfigError, match=r"expected a name ending in .json"):
        machine.output_paths(str(tmp_path / "x.md"))
    with pytest.raises(checks.ConfigError, match=r"in a directory that exists"):
        machine.output_paths(str(tmp_path / "none" / "x.json"))
    with pytest.raises(checks.ConfigError, match=r"config = 'typo': expected a file of configs/"):
        prepared.settings_of("typo", "pong", {})


def test_a_report_is_written_beside_its_table(tmp_path):
    paths = machine.output_paths(str(tmp_path / "x.json"))
    machine.write(paths, {"a": 1}, "| table |\n")
    assert (tmp_path / "x.json").read_text() == '{\n "a": 1\n}\n'
    assert (tmp_path / "x.md").read_text() == "| table |\n"
    with pytest.raises(checks.ConfigError, match=r"exists already"):
        machine.output_paths(str(tmp_path / "x.json"))
