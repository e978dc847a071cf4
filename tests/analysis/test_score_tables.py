"""Tables of scores: columns of runs written by hand, statistics by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import run_records, score_tables
from core import checks

_HEADER = "frames,seed,episodes,mean_return,std_return,mean_length_frames"
_SEQUENCE_HEADER = "frames,task,game,seed,episodes,mean_return,std_return,mean_length_frames"


@pytest.fixture
def write_run(tmp_path):
    """Writes a run's directory: its configuration's changes, and the lines of evaluation.csv."""

    def write(name: str, *rows: str, environment: dict | None = None, **changes) -> Path:
        config = {"name": "rainbow", "seed": 1, "num_frames": 2_000_000, "agent": {"n_step": 3}}
        game = {"module": "atari", "game": "pong", "protocol": "dqn_zoo"}
        game |= {"max_episode_frames": 108_000, "full_action_space": None}
        evaluation = {"max_episode_frames": 108_000, "episodes": 5} | changes.pop("evaluation", {})
        config |= changes | {"environment": game | (environment or {}), "evaluation": evaluation}
        path = tmp_path / name
        path.mkdir()
        (path / "config.json").write_text(json.dumps(config))
        (path / "train.csv").write_text("frames,mean_return\n1000000,1.0\n")
        if rows:
            (path / "evaluation.csv").write_text("\n".join(rows) + "\n")
        return path

    return write


def _columns(*paths: Path) -> list[score_tables.ScoreColumn]:
    return score_tables.own_columns([run_records.load(path) for path in paths])


def test_runs_of_games_and_seeds_share_a_column(write_run):
    paths = (
        write_run("a", _HEADER, "1000000,1,5,-3,1,9", "2000000,1,5,10,1,9"),
        write_run("b", _HEADER, "2000000,2,7,4,1,9", "2000000,3,7,7,1,9", seed=2, num_seeds=2),
        write_run("c", _HEADER, "2000000,1,5,30.5,1,9", environment={"game": "breakout"}),
    )
    (column,) = _columns(*paths)
    assert column.label == "rainbow, dqn_zoo, 2M frames"
    assert {game: scores.tolist() for game, scores in column.scores.items()} == {
        "pong": [10.0, 4.0, 7.0],
        "breakout": [30.5],
    }
    assert column.protocol == (
        "sticky actions: none; starts: 0 to 30 random no-ops; life loss: discount 0, the game "
        "goes on; actions: the game's minimal set; episode cap: 108,000 frames; returns: "
        "evaluation: 5 to 7 episodes; checkpoint: last evaluation; frames: 2M; seeds: 1 to 3; "
        "source: own runs"
    )


def test_protocols_frames_and_settings_have_columns_of_their_own(write_run):
    columns = _columns(
        write_run("a", _HEADER, "2000000,1,5,10,1,9"),
        write_run("b", _HEADER, "2000000,1,5,10,1,9", environment={"protocol": "machado"}),
        write_run("c", _HEADER, "40000,1,5,10,1,9"),
        write_run("d", _HEADER, "2000000,1,5,10,1,9", agent={"n_step": 5}),
    )
    labels = [column.label.split(" (")[0] for column in columns]
    assert labels == [
        "rainbow, dqn_zoo, 2M frames",
        "rainbow, machado, 2M frames",
        "rainbow, dqn_zoo, 40k frames",
        "rainbow, dqn_zoo, 2M frames",
    ]
    assert columns[0].label.endswith("/a)")
    assert columns[3].label.endswith("/d)")
    assert columns[1].protocol.startswith(
        "sticky actions: 0.25; starts: no no-ops; life loss: not told; actions: all 18;"
    )


def test_evaluations_of_different_caps_have_columns_of_their_own(write_run):
    columns = _columns(
        write_run("a", _HEADER, "2000000,1,5,10,1,9"),
        write_run("b", _HEADER, "2000000,2,9,4,1,9", evaluation={"episodes": 9}, seed=2),
        write_run(
            "c", _HEADER, "2000000,3,5,4,1,9", evaluation={"max_episode_frames": 18_000}, seed=3
        ),
    )
    assert [column.scores["pong"].tolist() for column in columns] == [[10.0, 4.0], [4.0]]
    assert "episode cap: 108,000 frames; returns: evaluation: 5 to 9" in columns[0].protocol
    assert "episode cap: 18,000 frames" in columns[1].protocol


def test_runs_that_follow_norms_of_their_own_seed_share_a_column(write_run):
    paths = [
        write_run(
            f"{seed}",
            _HEADER,
            f"2000000,{seed},5,10,1,9",
            seed=seed,
            optimizer={"schedule": {"norms_file": f"norms_seed_{seed}.csv"}},
        )
        for seed in (1, 2)
    ]
    (column,) = _columns(*paths)
    assert column.scores["pong"].tolist() == [10.0, 10.0]


def test_a_column_of_several_commits_says_so(write_run):
    paths = [
        write_run(f"{seed}", _HEADER, f"2000000,{seed},5,10,1,9", seed=seed) for seed in (1, 2)
    ]
    for path, commit in zip(paths, "ab"):
        (path / "provenance.jsonl").write_text(json.dumps({"commit": commit * 40}) + "\n")
    (column,) = _columns(*paths)
    assert column.protocol.endswith(
        f"source: own runs of several commits, aaaaaaaaa ({paths[0]}), bbbbbbbbb ({paths[1]})"
    )


def test_sequence_shows_each_games_last_evaluation(write_run):
    path = write_run(
        "a",
        _SEQUENCE_HEADER,
        "1000,0,pong,1,5,1,1,9",
        "2000,1,breakout,1,5,2,1,9",
        "3000,2,pong,1,5,3,1,9",
        "4000,3,brea",
        environment={"module": "game_sequence", "games": ["pong", "breakout"]},
    )
    (column,) = _columns(path)
    assert {game: scores.tolist() for game, scores in column.scores.items()} == {
        "pong": [3.0],
        "breakout": [2.0],
    }
    assert "actions: all 18;" in column.protocol
    assert "checkpoint: each game's last evaluation; frames: 3k over games in" in column.protocol


def test_same_seed_twice_is_refused(write_run):
    paths = [write_run(name, _HEADER, "2000,1,5,10,1,9") for name in ("a", "b")]
    with pytest.raises(checks.ConfigError, match="b: seed 1 of pong comes a second time"):
        _columns(*paths)


def test_runs_without_scores_to_show(write_run):
    with pytest.raises(checks.ConfigError, match="expected an evaluation of the run, found none"):
        _columns(write_run("a"))
    with pytest.raises(checks.ConfigError, match="expected an evaluation of the run, found none"):
        _columns(write_run("b", _HEADER))
    with pytest.raises(checks.ConfigError, match=r"environment.module = 'probes': expected"):
        _columns(write_run("c", _HEADER, environment={"module": "probes"}))
    run = write_run("d", _HEADER, "2000,1,5,10,1,9", environment={"game": "tetris"})
    with pytest.raises(checks.ConfigError, match="game = 'tetris': no reference scores"):
        _columns(run)


def test_games_by_default_and_as_asked(write_run):
    assert len(score_tables.choose_games(None, [])) == 57
    own = _columns(write_run("a", _HEADER, "2000,1,5,10,1,9"))
    assert score_tables.choose_games(None, own) == ["pong"]
    assert score_tables.choose_games(["venture", "alien"], own) == ["venture", "alien"]
    with pytest.raises(checks.ConfigError, match="game = 'ponng'"):
        score_tables.choose_games(["ponng"], [])


def test_published_agents_by_name():
    assert len(score_tables.published_columns(None)) == 9
    assert score_tables.published_columns([]) == []
    (column,) = score_tables.published_columns(["rainbow_pfrl_best"])
    assert column.label == "PFRL Rainbow, best checkpoint"
    assert column.scores["pong"].tolist() == [21.0]
    assert "checkpoint: best" in column.protocol
    assert "; source: pfnet/pfrl, examples/atari/" in column.protocol
    with pytest.raises(checks.ConfigError, match="agents = 'ape': expected some of rainbow_hes"):
        score_tables.published_columns(["ape"])


def _table(metric: str) -> score_tables.ScoreTable:
    # Human-normalized: pong (10 + 20.7) / 35.3, breakout 1 and 2, boxing 0.
    some = {"pong": np.array([20.0, 0.0]), "breakout": np.array([30.5])}
    others = {"breakout": np.array([59.3]), "boxing": np.array([0.1])}
    columns = [
        score_tables.ScoreColumn("some", "rules", some),
        score_tables.ScoreColumn("b", "c,d", others),
    ]
    return score_tables.make(columns, ["boxing", "breakout", "pong"], metric)


def test_table_of_raw_scores():
    assert score_tables.to_markdown(_table("raw")) == (
        "| game (raw scores) | some | b |\n"
        "| --- | ---: | ---: |\n"
        "| boxing |  | 0.1 |\n"
        "| breakout | 30.5 | 59.3 |\n"
        "| pong | 10.0 |  |\n"
        "| median, human-normalized | 0.93 | 1.00 |\n"
        "| mean, human-normalized | 0.93 | 1.00 |\n"
        "| IQM, human-normalized | 0.93 | 1.00 |\n"
        "| games above human | 0 | 1 |\n"
        "| games | 2 | 2 |\n"
        "\n"
        "Scores of different protocols are not comparable. Protocols:\n"
        "\n"
        "* some: rules\n"
        "* b: c,d\n"
    )


def test_table_of_human_normalized_scores():
    lines = score_tables.to_csv(_table("human_normalized")).splitlines()
    assert lines[:4] == [
        "game (human-normalized scores),some,b",
        "boxing,,0.000",
        "breakout,1.000,2.000",
        "pong,0.870,",
    ]
    assert lines[-1] == 'protocol,rules,"c,d"'


def test_column_without_any_of_the_games_is_empty():
    column = score_tables.ScoreColumn("some", "rules", {"pong": np.array([-0.0])})
    assert score_tables.make([column], ["alien"], "raw").rows == [
        ["alien", ""],
        ["median, human-normalized", ""],
        ["mean, human-normalized", ""],
        ["IQM, human-normalized", ""],
        ["games above human", "0"],
        ["games", "0"],
    ]
    assert score_tables.make([column], ["pong"], "raw").rows[0] == ["pong", "0.0"]


def test_numbers_of_several_seeds_have_intervals():
    scores = {"pong": np.array([20.0, 0.0]), "breakout": np.array([30.5, 59.3])}
    columns = [
        score_tables.ScoreColumn("some", "rules", scores),
        score_tables.ScoreColumn("mixed", "rules", scores | {"breakout": np.array([30.5])}),
    ]
    rows = score_tables.make(columns, ["breakout", "pong"], "raw", intervals=True).rows
    # Of two seeds a quarter of the resampled means are either seed's score.
    assert rows[:2] == [
        ["breakout", "44.9 [30.5, 59.3]", "30.5"],
        ["pong", "10.0 [0.0, 20.0]", "10.0 [0.0, 20.0]"],
    ]
    # Pong 0.59 to 1.15, breakout 1 to 2, as the median and the mean of two games are the same.
    assert rows[2:5] == [
        ["median, human-normalized", "1.18 [0.79, 1.58]", "0.93"],
        ["mean, human-normalized", "1.18 [0.79, 1.58]", "0.93"],
        ["IQM, human-normalized", "1.18 [0.79, 1.58]", "0.93"],
    ]
