"""A table of scores on Atari games: published agents and one's own runs, with their protocols.

python -m scripts.scores --metric=human_normalized --output=scores.md runs/rainbow

Arguments are directories with runs in or below them. With --intervals a score of several seeds is
followed by its 95 % bootstrap interval; --figure=scores.png draws the same, a panel per game.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from analysis import run_records, score_tables
from analysis.figures import curves, score_figures
from core import checks
from scripts import command_line

_GAMES = flags.DEFINE_list("games", None, "Default: those of the runs; without runs, all 57.")
_AGENTS = flags.DEFINE_list("agents", None, "Published agents; default: all; empty: none.")
_METRIC = flags.DEFINE_enum("metric", "raw", ["raw", "human_normalized"], "Of the games' rows.")
_INTERVALS = flags.DEFINE_bool("intervals", False, "95 % bootstrap intervals over seeds.")
_FIGURE = flags.DEFINE_string("figure", None, "A new picture, .png, .svg or .pdf; needs runs.")
_OUTPUT = flags.DEFINE_string("output", None, "A new file, .csv or .md; default: print it.")


def main(argv: Sequence[str]) -> None:
    """Makes the table of the agents chosen and the runs given as arguments."""
    output = check_output(_OUTPUT.value)
    figure = check_output(_FIGURE.value, "figure", (".png", ".svg", ".pdf"))
    directories = run_records.find_directories([Path(path) for path in argv[1:]])
    own = score_tables.own_columns([run_records.load(path) for path in directories])
    published = score_tables.published_columns(_AGENTS.value)
    columns = [*published, *own]
    if not columns:
        raise checks.ConfigError("agents = '': expected an agent or a run directory, got neither")
    games = score_tables.choose_games(_GAMES.value, own)
    table = score_tables.make(columns, games, _METRIC.value, _INTERVALS.value)
    if figure is not None:
        _draw(own, published, games, figure)
    if output is None:
        print(score_tables.to_markdown(table), end="")
        return
    write = score_tables.to_csv if output.suffix == ".csv" else score_tables.to_markdown
    with command_line.writing(_OUTPUT):
        output.write_text(write(table), encoding="utf-8")
    logging.info("wrote %s", output)


def _draw(
    own: Sequence[score_tables.ScoreColumn],
    published: Sequence[score_tables.ScoreColumn],
    games: Sequence[str],
    path: Path,
) -> None:
    if not own:
        raise checks.ConfigError(f"figure = {str(path)!r}: expected a run directory, got none")
    curves.save(score_figures.draw(own, published, games), path)
    logging.info("wrote %s", path)


def check_output(
    name: str | None, flag: str = "output", suffixes: Sequence[str] = (".csv", ".md")
) -> Path | None:
    """The file to write; None if there is none.

    Raises:
      ConfigError: if it exists, or can't be written.
    """
    if name is None:
        return None
    path = Path(name)
    if path.suffix not in suffixes or not path.parent.is_dir():
        *others, last = suffixes
        raise checks.ConfigError(
            f"{flag} = {name!r}: expected a file in a directory that exists, "
            f"ending in {', '.join(others)} or {last}"
        )
    if path.exists():
        raise checks.ConfigError(f"{flag} = {name!r}: exists already, not overwritten")
    return path


if __name__ == "__main__":
    command_line.run(main, allow_arguments=True)
