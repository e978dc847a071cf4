"""scripts.scores as a user calls it."""

import csv
from pathlib import Path

import pytest

from tests.scripts.calling import call, error_of

_ROOT = Path(__file__).parents[2]
_RUN = "docs/results/make_train"


def test_run_beside_a_published_agent_is_printed():
    result = call("scores", "--agents=rainbow_pfrl_best", _RUN)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    own = "data_efficient_nap, dqn_zoo, 200k frames"
    assert lines[0] == f"| game (raw scores) | PFRL Rainbow, best checkpoint | {own} |"
    # The last evaluation, not the better one before.
    assert lines[2] == "| kung_fu_master | 54835.5 | 4540.0 |"
    assert lines[-1].startswith(f"* {own}: sticky actions: none; ")


def test_all_published_scores_as_a_file(tmp_path):
    output = tmp_path / "table.csv"
    arguments = ("--metric=human_normalized", f"--output={output}")
    assert call("scores", *arguments).returncode == 0
    with output.open(newline="") as stream:
        header, *rows = list(csv.reader(stream))
    table = {row[0]: dict(zip(header[1:], row[1:])) for row in rows}
    assert len(table) == 57 + 5 + 1
    noop = {name: row["Rainbow paper, no-ops"] for name, row in table.items()}
    # (20.9 + 20.7) / 35.3
    assert noop["pong"] == "1.178"
    summary = [noop[f"{name}, human-normalized"] for name in ("median", "mean", "IQM")]
    assert [*summary, noop["games above human"], noop["games"]] == [
        "2.27",
        "13.89",
        "2.71",
        "40",
        "54",
    ]
    assert noop["protocol"].startswith("sticky actions: none")

    before = output.read_bytes()
    assert "exists already, not overwritten" in error_of(call("scores", *arguments))
    assert output.read_bytes() == before


def test_intervals_and_figure_of_a_sweep(tmp_path):
    figure = tmp_path / "scores.png"
    arguments = ("--agents=der_van_hasselt2019_400k", "--intervals", f"--figure={figure}")
    result = call("scores", *arguments, "docs/results/comparison/runs/data_efficient")
    assert result.returncode == 0, result.stderr
    lines = {line.split(" | ")[0]: line for line in result.stdout.splitlines()}
    assert lines["| kung_fu_master"] == ("| kung_fu_master | 14346.1 | 1110.0 [740.0, 1480.0] |")
    assert lines["| mean, human-normalized"].endswith("]" + " |")
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert "exists already, not overwritten" in error_of(call("scores", *arguments, _RUN))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--agents=",), "agents = '': expected an agent or a run directory"),
        (("--agents=ape_x",), "agents = 'ape_x': expected some of"),
        (("--games=ponng",), "game = 'ponng': no reference scores"),
        (("--metric=z",), "metric"),
        (("--output=nowhere/table.md",), "output = 'nowhere/table.md': expected a file in a"),
        (("--output=table.xlsx",), "ending in .csv or .md"),
        (("--figure=scores.md", _RUN), "ending in .png, .svg or .pdf"),
        (("--figure=scores.png",), "figure = 'scores.png': expected a run directory, got none"),
        (("nowhere",), "nowhere: expected a directory with runs"),
    ],
)
def test_bad_arguments(arguments, expected):
    assert expected in error_of(call("scores", *arguments))
