"""Tables of scores on Atari games: published agents and runs of this project side by side.

Every column carries the protocol of its scores. Without the same protocol they are not comparable.
"""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis import (
    comparison,
    likeness,
    published_scores,
    reference_scores,
    run_records,
    statistics,
)
from core import checks
from envs import atari

# What may differ between the runs of a column; their label has the frames.
_FREE = (
    *comparison.FREE,
    "num_frames",
    *(f"evaluation.{key}" for key in ("period_frames", "num_envs", "episodes")),
)


class ScoreColumn(NamedTuple):
    """Scores of one agent under one protocol.

    Attributes:
      label: tells it from the other columns.
      protocol: how and where it was measured, in one line.
      scores: unnormalized, by game, an array [seeds]; for published agents only the mean [1].
    """

    label: str
    protocol: str
    scores: statistics.Scores


class ScoreTable(NamedTuple):
    """A table as text.

    Attributes:
      header: what the rows are, then the columns' labels.
      rows: a game or a statistic, then its values.
      protocols: the columns' protocols, one line each.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    protocols: Sequence[str]


def published_columns(names: Sequence[str] | None) -> list[ScoreColumn]:
    """Columns of published agents; None stands for all of them.

    Raises:
      ConfigError: for an unknown name.
    """
    agents, scores = published_scores.AGENTS, published_scores.load()
    for name in names or ():
        if name not in agents:
            raise checks.ConfigError(f"agents = {name!r}: expected some of {', '.join(agents)}")
    chosen = [agents[name] for name in (agents if names is None else names)]
    return [
        ScoreColumn(
            agent.label,
            f"{agent.protocol.describe()}; source: {agent.source}",
            {game: np.array([score]) for game, score in scores[agent.name].items()},
        )
        for agent in chosen
    ]


def own_columns(runs: Sequence[run_records.RunRecord]) -> list[ScoreColumn]:
    """Columns of runs' last evaluations; runs that learn alike share one: see `_FREE`.

    Raises:
      ConfigError: if a run is not of Atari games or has no evaluation yet, a game and seed
        comes twice in a column, or a game lacks reference scores.
    """
    groups: dict[tuple[str, str], list[run_records.RunRecord]] = {}
    for run in runs:
        _check(run)
        settings = likeness.as_text(likeness.kept(run.config, _FREE))
        groups.setdefault((_label(run), settings), []).append(run)
    labels = [label for label, _ in groups]
    return [
        _own_column(label if labels.count(label) == 1 else f"{label} ({group[0].path})", group)
        for (label, _), group in groups.items()
    ]


def choose_games(names: Sequence[str] | None, own: Sequence[ScoreColumn]) -> list[str]:
    """The games asked for; by default those of the own columns, or all if there are none.

    Raises:
      ConfigError: for a game without reference scores.
    """
    if names:
        for name in names:
            reference_scores.get(name)
        return list(names)
    played = {game for column in own for game in column.scores}
    return [game for game in reference_scores.SCORES if game in played or not own]


def make(
    columns: Sequence[ScoreColumn], games: Sequence[str], metric: str, intervals: bool = False
) -> ScoreTable:
    """A row per game, then statistics over these games.

    Args:
      columns: the agents.
      games: with reference scores.
      metric: "raw" or "human_normalized", of the games' rows.
      intervals: whether each number over several seeds is followed by its 95 % bootstrap interval;
        statistics, if every game has several.
    """
    header = [f"game ({metric.replace('_', '-')} scores)", *(column.label for column in columns)]
    rows = [_game_row(columns, game, metric, intervals) for game in games]
    protocols = [column.protocol for column in columns]
    return ScoreTable(header, [*rows, *_summary_rows(columns, games, intervals)], protocols)


def to_markdown(table: ScoreTable) -> str:
    """The table and, below it, a line per column with its protocol."""
    align = ["---", *("---:" for _ in table.header[1:])]
    cells = (table.header, align, *table.rows)
    lines = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    protocols = "\n".join(
        f"* {label}: {protocol}" for label, protocol in zip(table.header[1:], table.protocols)
    )
    note = "Scores of different protocols are not comparable. Protocols:"
    return f"{lines}\n\n{note}\n\n{protocols}\n"


def to_csv(table: ScoreTable) -> str:
    """The table with a last row of protocols."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table.header, *table.rows, ["protocol", *table.protocols]])
    return text.getvalue()


def _game_row(columns: Sequence[ScoreColumn], game: str, metric: str, intervals: bool) -> list[str]:
    """Means over seeds; empty where a column lacks the game."""
    cells = []
    for column in columns:
        if game not in column.scores:
            cells.append("")
            continue
        scores, digits = {game: column.scores[game]}, 1
        if metric == "human_normalized":
            scores, digits = _normalized(column, [game]), 3
        cells.append(_cell(statistics.mean, scores, digits, intervals))
    return [game, *cells]


def _summary_rows(
    columns: Sequence[ScoreColumn], games: Sequence[str], intervals: bool
) -> list[list[str]]:
    """Statistics of human-normalized game means; each column's over the games that it has."""
    normalized = [_normalized(column, games) for column in columns]
    averages = {"median": statistics.median, "mean": statistics.mean, "IQM": _iqm_of_games}
    rows = [
        [
            f"{name}, human-normalized",
            *(_cell(average, scores, 2, intervals) if scores else "" for scores in normalized),
        ]
        for name, average in averages.items()
    ]
    above = [str(sum(bool(v.mean() > 1) for v in scores.values())) for scores in normalized]
    return [*rows, ["games above human", *above], ["games", *(str(len(n)) for n in normalized)]]


def _iqm_of_games(scores: statistics.Scores) -> np.ndarray:
    """IQM [...] of the games' means over seeds."""
    means = {game: values.mean(axis=-1, keepdims=True) for game, values in scores.items()}
    return statistics.iqm(means)


def _cell(
    statistic: Callable[[statistics.Scores], np.ndarray],
    scores: statistics.Scores,
    digits: int,
    intervals: bool,
) -> str:
    text = _format(statistic(scores), digits)
    if not intervals or statistics.num_runs(scores) == 1:
        return text
    low, high = statistics.stratified_bootstrap(statistic, scores)
    return f"{text} [{_format(low, digits)}, {_format(high, digits)}]"


def _check(run: run_records.RunRecord) -> None:
    module = run.config["environment"]["module"]
    if module not in ("atari", "game_sequence"):
        raise checks.ConfigError(
            f"{run.path}: environment.module = {module!r}: expected 'atari' or 'game_sequence'"
        )
    if not run.last_evaluations():
        raise checks.ConfigError(
            f"{run.path / 'evaluation.csv'}: expected an evaluation of the run, found none"
        )


def _label(run: run_records.RunRecord) -> str:
    """Configuration, protocol and frames."""
    protocol = run.config["environment"]["protocol"]
    return f"{run.name}, {protocol}, {_shorten(_evaluated_frames(run))} frames"


def _evaluated_frames(run: run_records.RunRecord) -> int:
    """Frames of training before the last evaluation."""
    return max(row.frames for row in run.last_evaluations().values())


def _own_column(label: str, runs: Sequence[run_records.RunRecord]) -> ScoreColumn:
    scores: dict[str, dict[int, float]] = {}
    for run in runs:
        for (game, seed), row in run.last_evaluations().items():
            reference_scores.get(game)
            seeds = scores.setdefault(game, {})
            if seed in seeds:
                raise checks.ConfigError(f"{run.path}: seed {seed} of {game} comes a second time")
            seeds[seed] = row.mean_return
    arrays = {game: np.array(list(seeds.values())) for game, seeds in scores.items()}
    protocol = _own_protocol(runs, arrays).describe()
    return ScoreColumn(label, f"{protocol}; source: own runs{_several_commits(runs)}", arrays)


def _several_commits(runs: Sequence[run_records.RunRecord]) -> str:
    commits = run_records.commits(runs)
    return f" of several commits, {run_records.list_commits(commits)}" if len(commits) > 1 else ""


def _own_protocol(
    runs: Sequence[run_records.RunRecord], scores: statistics.Scores
) -> published_scores.ScoreProtocol:
    environment, sequence = runs[0].config["environment"], runs[0].is_sequence
    rules = atari.PROTOCOLS[environment["protocol"]]
    all_actions = comparison.has_all_actions(runs[0].config)
    episodes = {row.episodes for run in runs for row in run.last_evaluations().values()}
    frames = _shorten(_evaluated_frames(runs[0]))
    return _describe_rules(rules)._replace(
        actions="all 18" if all_actions else "the game's minimal set",
        episode_cap=f"{comparison.episode_cap(runs[0].config):,} frames",
        returns=f"evaluation: {_range(episodes)} episodes",
        checkpoint="each game's last evaluation" if sequence else "last evaluation",
        frames=f"{frames} over games in sequence" if sequence else frames,
        seeds=_range({len(values) for values in scores.values()}),
    )


def _describe_rules(rules: atari.AtariProtocol) -> published_scores.ScoreProtocol:
    sticky, noops, discount = (
        rules.sticky_probability,
        rules.max_noop_frames,
        rules.life_loss_discount,
    )
    return published_scores.ScoreProtocol(
        sticky_actions=f"{sticky:g}" if sticky else "none",
        starts=f"0 to {noops} random no-ops" if noops else "no no-ops",
        life_loss="not told" if discount == 1 else f"discount {discount:g}, the game goes on",
    )


def _normalized(column: ScoreColumn, games: Sequence[str]) -> statistics.Scores:
    """Human-normalized scores by game, [seeds] each."""
    return {
        game: reference_scores.human_normalized(game, column.scores[game])
        for game in games
        if game in column.scores
    }


def _range(counts: set[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _shorten(frames: int) -> str:
    return f"{frames / 1e6:g}M" if frames >= 1_000_000 else f"{frames / 1e3:g}k"


def _format(value: Any, digits: int) -> str:
    # The sum turns the -0 of some sources into 0.
    return f"{float(value) + 0.0:.{digits}f}"
