"""A comparison of runs as one directory: a page, its figures as PNG, its tables as CSV."""

import csv
import functools
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from analysis import branches, comparison, continual, pairing, run_records, statistics
from analysis.reporting import report_figures, report_page
from core import checks, progress

CONTROL = "continual_reset"
"""The configuration that restarts in every game: plasticity is measured against it."""


class Options(NamedTuple):
    """What a report shows besides.

    Attributes:
      title: the page's.
      mixed_protocols: whether protocols may be mixed.
      margin: within which final returns count as the same as the first agent's; 0: not tested.
      threshold: report when evaluations first reach this return; None: don't.
    """

    title: str = "Comparison of runs"
    mixed_protocols: bool = False
    margin: float = 0.0
    threshold: float | None = None


def write(runs: Sequence[run_records.RunRecord], output: Path, options: Options) -> None:
    """Writes index.html, *.png and *.csv into a new directory.

    Raises:
      ConfigError: if the directory exists and is not empty, if there are no runs, or they can't
        be compared (comparison.make_arms).
    """
    if not runs:
        raise checks.ConfigError("no runs to report on: expected one directory or more")
    _check_output(output)
    sections = [make() for make in progress.track(_sections(runs, options), "section")]
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise checks.ConfigError(f"output = {str(output)!r}: not written: {error}") from error
    for section in sections:
        for figure in section.figures:
            (output / f"{figure.name}.png").write_bytes(figure.png)
        for table in section.tables:
            (output / f"{table.name}.csv").write_text(_to_csv(table))
    (output / "index.html").write_text(report_page.render(options.title, sections))


def _check_output(output: Path) -> None:
    nearest = next(path for path in (output, *output.resolve().parents) if path.exists())
    if not nearest.is_dir():
        raise checks.ConfigError(f"output = {str(output)!r}: expected a directory, it is a file")
    if output.exists() and any(output.iterdir()):
        raise checks.ConfigError(f"output = {str(output)!r}: not empty, not overwritten")


def _sections(
    runs: Sequence[run_records.RunRecord], options: Options
) -> list[Callable[[], report_page.Section]]:
    """What makes each section; they, or this, raise ConfigError for runs that can't be compared."""
    whole = [run for run in runs if run.left is None]
    single = [run for run in whole if not run.is_sequence]
    sequences = [run for run in whole if run.is_sequence]
    makers: list[Callable[[], report_page.Section]] = []
    if single:
        arms = comparison.make_arms(single, options.mixed_protocols)
        makers.append(functools.partial(_single_games, arms, options))
    for number, games in enumerate(dict.fromkeys(run.games for run in sequences), 1):
        same = [run for run in sequences if run.games == games]
        arms = comparison.make_arms(same, options.mixed_protocols)
        makers.append(functools.partial(_sequence, f"sequence_{number}", arms))
    if len(whole) < len(runs):
        makers.append(functools.partial(_branches, runs))
    return [*makers, functools.partial(_provenance, runs)]


def _single_games(arms: Sequence[comparison.Arm], options: Options) -> report_page.Section:
    games = sorted({game for arm in arms for run in arm.runs for game in run.games})
    evaluated = [arm for arm in arms if comparison.final_returns(arm)]
    known = [arm for arm in evaluated if comparison.normalized(comparison.final_returns(arm))]
    figures = [_figure("single_curves", _CURVES, report_figures.curves(arms, games))]
    if known:
        figures.append(_figure("single_aggregates", _AGGREGATES, report_figures.aggregates(arms)))
        figures.append(_figure("single_profiles", _PROFILES, report_figures.profiles(arms)))
    if comparable := report_figures.comparable_with_first(arms):
        improvements = report_figures.improvements(arms, comparable)
        figures.append(_figure("single_improvements", _IMPROVEMENTS, improvements))
    figures += _measured("single", arms)
    tables = [_game_table("single_games", evaluated, games), _aggregate_table(known)]
    if options.margin:
        tables.append(_equivalence_table(arms, games, options.margin))
    if options.threshold is not None:
        tables.append(_threshold_table(arms, games, options.threshold))
    return report_page.Section("Single games", _protocol_notes(arms), figures, tables)


def _sequence(name: str, arms: Sequence[comparison.Arm]) -> report_page.Section:
    figures = []
    if any(continual.passes(arm) for arm in arms):
        figures.append(_figure(f"{name}_passes", _PASSES, report_figures.pass_returns(arms)))
    figures += _measured(name, arms)
    tables = [_pass_table(name, arms), _change_table(name, arms)]
    matrices = {arm.label: continual.transfer(arm) for arm in arms}
    for number, arm in enumerate(arms, 1):
        if (matrix := matrices[arm.label]) is not None:
            title = f"{arm.label}{_if_not_all(len(matrix.seeds), arm)}"
            figure = report_figures.transfer(matrix, title)
            figures.append(_figure(f"{name}_transfer_{number}", _TRANSFER, figure))
    if any(matrices.values()):
        tables.append(_transfer_table(name, arms, matrices))
    title = f"Sequence of {len(arms[0].runs[0].games)} games"
    return report_page.Section(title, _protocol_notes(arms), figures, tables)


def _branches(runs: Sequence[run_records.RunRecord]) -> report_page.Section:
    pairs, notes = branches.find(runs)
    groups, rows = branches.group(pairs), []
    for (place, frames, label), group in groups.items():
        training = branches.training_difference(group)
        evaluation = branches.evaluation_difference(group)
        number = max((found.pairs for found in (training, evaluation) if found), default=0)
        cells = [*_difference_cells(training), *_difference_cells(evaluation)]
        rows.append([label, place, f"{frames}", f"{number}", *cells])
    header = ["what changed", "run", "at frame", "pairs"]
    for kind in ("training", "evaluation"):
        header += [f"{kind}: run", "branch", "difference", "unpaired"]
    caption = (
        "Branches and the runs they left, pair by pair: mean return of training episodes since, "
        "and of the last evaluation of both; differences with 95 % intervals (bootstrap over "
        "pairs, and over runs and branches apart)"
    )
    table = report_page.Table("branches", caption, header, rows)
    figures = (
        [_figure("branches", _BRANCHES, report_figures.branch_returns(groups))] if rows else []
    )
    notes += comparison.note_commits([run for pair in pairs for run in (pair.run, pair.branch)])
    notes = [*notes, "With one pair the interval is a point and says nothing."]
    return report_page.Section("Branches", notes, figures, [table])


def _difference_cells(found: branches.Difference | None) -> list[str]:
    if found is None:
        return [""] * 4
    change = f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    unpaired = "[{:+.2f}, {:+.2f}]".format(*found.unpaired)
    return [f"{found.run:.2f}", f"{found.branch:.2f}", change, unpaired]


def _measured(name: str, arms: Sequence[comparison.Arm]) -> list[report_page.Picture]:
    """The figures of layers and of trainability, where they were measured."""
    figures = {
        ("layers", _LAYERS): report_figures.layers(arms),
        ("trainability", _TRAINABILITY): report_figures.trainability(arms),
    }
    return [
        _figure(f"{name}_{what}", caption, figure)
        for (what, caption), figure in figures.items()
        if figure is not None
    ]


def _protocol_notes(arms: Sequence[comparison.Arm]) -> list[str]:
    protocols = dict.fromkeys(comparison.protocol(run) for arm in arms for run in arm.runs)
    episodes = sorted({run.config["evaluation"]["episodes"] for arm in arms for run in arm.runs})
    moment = "before a game is left" if arms[0].runs[0].is_sequence else "of the run"
    seeds = sorted({seed for arm in arms for run in arm.runs for seed in run.seeds})
    return [
        *(f"Protocol: {protocol}." for protocol in protocols),
        f"Scores: last evaluation {moment}, {' or '.join(map(str, episodes))} episodes in fresh "
        "environments, "
        "unclipped returns. Human-normalized: 0 is random play, 1 a human tester (DQN Zoo's "
        "table). Intervals: 95 %, stratified bootstrap over seeds (Agarwal et al. 2021).",
        f"Seeds: {', '.join(map(str, seeds))}. Intervals over fewer than five seeds are narrower "
        "than the truth; over one seed they are points and say nothing.",
        *comparison.notes(arms),
    ]


def _game_table(
    name: str, arms: Sequence[comparison.Arm], games: Sequence[str]
) -> report_page.Table:
    returns = [comparison.final_returns(arm) for arm in arms]
    rows = [[game, *(_mean_and_seeds(r.get(game)) for r in returns)] for game in games]
    caption = "Evaluation return by game: mean over seeds (each seed)"
    return report_page.Table(name, caption, ["game", *(arm.label for arm in arms)], rows)


def _aggregate_table(arms: Sequence[comparison.Arm]) -> report_page.Table:
    rows = []
    for arm in arms:
        scores = comparison.normalized(comparison.final_returns(arm))
        cells = [_with_interval(f, scores) for f in report_figures.STATISTICS.values()]
        rows.append([arm.label, *cells, str(len(scores)), str(statistics.num_runs(scores))])
    header = ["agent", *report_figures.STATISTICS, "games", "seeds"]
    caption = "Human-normalized scores over games [95 % interval]"
    return report_page.Table("single_aggregates", caption, header, rows)


def _equivalence_table(
    arms: Sequence[comparison.Arm], games: Sequence[str], margin: float
) -> report_page.Table:
    """Each arm's final returns beside the first arm's, game by game."""
    rows = []
    for game in games:
        by_seed = [_final_by_seed(arm, game) for arm in arms]
        for arm, own in zip(arms, by_seed):
            if len(own) < 2:
                continue
            mean, low, high, seeds = pairing.estimate(np.array(list(own.values())))
            cells = [game, arm.label, f"{seeds}", f"{mean:.2f} [{low:.2f}, {high:.2f}]"]
            if arm is arms[0] or len(own.keys() & by_seed[0].keys()) < 2:
                rows.append([*cells, "", ""])
                continue
            found = pairing.estimate(pairing.differences(own, by_seed[0], arm.label), 0.9)
            change = f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
            rows.append([*cells, change, "yes" if found.is_within(margin) else "not shown"])
    header = ["game", "agent", "seeds", "final return [95 %]"]
    header += [f"minus {arms[0].label} [90 %]", f"within ±{margin:g}"]
    caption = (
        f"Last evaluations, and whether they are those of {arms[0].label}: two one-sided t-tests "
        "paired by seed, at 5 %"
    )
    return report_page.Table("equivalence", caption, header, rows)


def _final_by_seed(arm: comparison.Arm, game: str) -> dict[int, float]:
    rows = [row for run in arm.runs for row in run.last_evaluations().values()]
    return {row.seed: row.mean_return for row in rows if row.game == game}


def _threshold_table(
    arms: Sequence[comparison.Arm], games: Sequence[str], threshold: float
) -> report_page.Table:
    rows = []
    for game in games:
        for arm in arms:
            runs = [run for run in arm.runs if run.games == (game,)]
            frames = np.array(list(comparison.first_reached(runs, threshold).values()))
            if len(frames):
                quartiles = np.quantile(frames, [0.25, 0.5, 0.75], method="inverted_cdf")
                cells = ["never" if np.isinf(x) else f"{x:.0f}" for x in quartiles]
                reached = f"{np.isfinite(frames).sum()} of {len(frames)}"
                rows.append([game, arm.label, reached, *cells])
    header = ["game", "agent", "seeds that reach it", "first quartile", "median", "third quartile"]
    caption = f"Frames until an evaluation of at least {threshold:g}"
    return report_page.Table("threshold", caption, header, rows)


def _pass_table(name: str, arms: Sequence[comparison.Arm]) -> report_page.Table:
    columns = {
        f"{arm.label}, pass {one.number}": one.returns
        for arm in arms
        for one in continual.passes(arm)
    }
    games = list(dict.fromkeys(arms[0].runs[0].games))
    rows = [
        [game, *(_mean_and_seeds(np.array(list(c[game].values()))) for c in columns.values())]
        for game in games
    ]
    caption = "Evaluation return before each game is left: mean over seeds (each seed)"
    return report_page.Table(f"{name}_passes", caption, ["game", *columns], rows)


def _change_table(name: str, arms: Sequence[comparison.Arm]) -> report_page.Table:
    """The last pass against the first, and against the control's."""
    found = {arm.label: continual.passes(arm) for arm in arms}
    last = max((one.number for passes in found.values() for one in passes), default=1)
    rows = []
    for arm in arms:
        by_number = {one.number: one for one in found[arm.label]}
        control = _control_of(arm, arms)
        theirs = {one.number: one for one in found[control.label]} if control else {}
        rows.append(
            [
                arm.label,
                *(_iqm(by_number.get(number), arm) for number in range(1, last + 1)),
                _change(by_number.get(last), by_number.get(1), True) if last > 1 else "",
                _change(by_number.get(last), theirs.get(last), False),
            ]
        )
    header = ["agent", *(f"pass {number}" for number in range(1, last + 1))]
    header += [f"pass {last} - pass 1", f"pass {last} - {CONTROL}"]
    caption = (
        "IQM of human-normalized scores before each game is left, of the seeds that have left all "
        "games of a pass [95 % interval of changes]"
    )
    return report_page.Table(f"{name}_change", caption, header, rows)


def _control_of(arm: comparison.Arm, arms: Sequence[comparison.Arm]) -> comparison.Arm | None:
    """The control under the arm's protocol; None for the control, or if there is none."""
    for other in arms:
        is_control = other.runs[0].name == CONTROL and other is not arm
        if is_control and comparison.protocol(other.runs[0]) == comparison.protocol(arm.runs[0]):
            return other
    return None


def _transfer_table(
    name: str, arms: Sequence[comparison.Arm], matrices: Mapping[str, continual.Transfer | None]
) -> report_page.Table:
    rows = []
    for arm in arms:
        matrix, control = matrices[arm.label], _control_of(arm, arms)
        if matrix is not None:
            theirs = matrices[control.label] if control else None
            gained = continual.forward_transfer(matrix, theirs)
            label = f"{arm.label}{_if_not_all(len(matrix.seeds), arm)}"
            rows.append([label, _mean_of(continual.forgetting(matrix)), _mean_of(gained)])
    header = ["agent", "forgetting", f"forward transfer (first pass - {CONTROL})"]
    caption = "Human-normalized, mean over games and over the seeds that have all evaluations"
    return report_page.Table(f"{name}_transfer", caption, header, rows)


def _provenance(runs: Sequence[run_records.RunRecord]) -> report_page.Section:
    rows = [
        [
            run.name,
            run.games[0] if len(run.games) == 1 else f"{len(run.games)} games",
            ", ".join(map(str, run.seeds)),
            f"{run.frames} of {run.config['num_frames']}",
            _of_starts(run, _commit),
            _of_starts(run, _hardware),
            f"{run.seconds / 60:.1f}",
        ]
        for run in runs
    ]
    header = ["config", "game", "seed", "frames", "commit", "hardware", "minutes"]
    caption = "Every run; with several starts, the commits and machines of all of them"
    table = report_page.Table("runs", caption, header, rows)
    return report_page.Section("Runs", [], [], [table])


def _of_starts(run: run_records.RunRecord, describe: Callable[[Mapping[str, Any]], str]) -> str:
    return "; ".join(dict.fromkeys(describe(start) for start in run.starts)) or "unknown"


def _commit(start: Mapping[str, Any]) -> str:
    changed = " with uncommitted changes" if start.get("uncommitted_changes") else ""
    return str(start.get("commit", "unknown"))[:12] + changed


def _hardware(start: Mapping[str, Any]) -> str:
    device, processor = start.get("device", "?"), start.get("processor", "?")
    return f"{device}, {processor}, {start.get('cores', '?')} core(s), jax {start.get('jax', '?')}"


def _mean_and_seeds(values: np.ndarray | None) -> str:
    if values is None or not len(values):
        return ""
    seeds = ", ".join(f"{value:g}" for value in np.round(values, 1))
    return f"{values.mean():.1f} ({seeds})" if len(values) > 1 else f"{values[0]:.1f}"


def _with_interval(statistic, scores: statistics.Scores) -> str:
    interval = statistics.stratified_bootstrap(statistic, scores)
    return f"{float(statistic(scores)):.3f} [{float(interval.low):.3f}, {float(interval.high):.3f}]"


def _iqm(one: continual.Pass | None, arm: comparison.Arm) -> str:
    if one is None or not (scores := one.normalized(one.seeds)):
        return ""
    return f"{float(statistics.iqm(scores)):.3f}{_if_not_all(len(one.seeds), arm)}"


def _if_not_all(number: int, arm: comparison.Arm) -> str:
    """Of how many seeds something is; nothing if it is of all."""
    total = sum(len(run.seeds) for run in arm.runs)
    return "" if number == total else f" ({number} of {total} seeds)"


def _change(after: continual.Pass | None, before: continual.Pass | None, same_runs: bool) -> str:
    change = continual.change(after, before, same_runs) if after and before else None
    return f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]" if change else ""


def _mean_of(values: dict[str, float] | None) -> str:
    known = [value for value in (values or {}).values() if not np.isnan(value)]
    return f"{np.mean(known):+.3f}" if known else ""


def _figure(name: str, caption: str, figure: Figure) -> report_page.Picture:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)
    return report_page.Picture(name, caption, stream.getvalue())


def _to_csv(table: report_page.Table) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.header, *table.rows])
    return text.getvalue()


_CURVES = (
    "Training returns (mean over seeds, shaded from least to greatest) and evaluations (points); "
    "dotted: random play"
)
_AGGREGATES = "Human-normalized scores over games, 95 % intervals; a smaller gap is better"
_PROFILES = "Performance profiles: how many runs reach at least a score"
_IMPROVEMENTS = "Probability of improvement over the first agent; dotted: no difference"
_LAYERS = (
    "Hidden layers of the first seed of each run, geometric mean: parameter norm relative to the "
    "first measurement, and the measured relative update"
)
_PASSES = "Evaluation return at the end of each game, a point per seed; dotted: random play"
_TRANSFER = "Scores on every game played so far, after each game of the run"
_TRAINABILITY = (
    "Metrics of trainability (docs/metrics.md): means over hidden layers, and over the runs and "
    "seeds that have come so far, shaded from least to greatest"
)
_BRANCHES = (
    "Training returns of runs and of their branches, means over the pairs; dotted: where they part"
)
