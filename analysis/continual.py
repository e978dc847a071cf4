"""What becomes of an agent that goes through games twice: plasticity, forgetting and transfer."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis import comparison, reference_scores, statistics
from configs import checks


class Pass(NamedTuple):
    """Returns at the end of each game of one pass, [seeds] by game; unnormalized."""

    returns: dict[str, np.ndarray]

    @property
    def normalized(self) -> statistics.Scores:
        """Human-normalized."""
        return comparison.normalized(self.returns)


class Change(NamedTuple):
    """A difference of IQMs of human-normalized scores and its 95 % interval over seeds.

    Not of means: on a game where the human is hardly better than chance, such as Double Dunk, a
    small change of the return would outweigh all other games.
    """

    value: float
    low: float
    high: float
    num_runs: int


def passes(arm: comparison.Arm) -> list[Pass]:
    """Each pass through the games, by the last evaluation on a game before it is left.

    Passes without any evaluation are left out; of a pass that is not complete, the games that
    are there are given.
    """
    last: dict[tuple[int, str, int], float] = {}
    for run in arm.runs:
        num_games = len(run.games)
        for row in run.evaluations():
            if row.game == run.games[row.task % num_games]:
                last[row.task // num_games, row.game, row.seed] = row.mean_return
    numbers = sorted({number for number, *_ in last})
    return [Pass(_by_game(last, number, arm.runs[0].games)) for number in numbers]


def _by_game(
    last: Mapping[tuple[int, str, int], float], number: int, games: Sequence[str]
) -> dict[str, np.ndarray]:
    returns = {}
    for game in games:
        values = [v for (i, g, _), v in sorted(last.items()) if (i, g) == (number, game)]
        if values:
            returns[game] = np.array(values)
    return returns


def change(after: statistics.Scores, before: statistics.Scores) -> Change:
    """IQM of `after` minus IQM of `before` over the games in both, with its interval.

    Raises:
      ConfigError: if no game is in both.
    """
    games = [game for game in after if game in before]
    if not games:
        raise checks.ConfigError("passes without a game in common can't be compared")
    x, y = ({game: scores[game] for game in games} for scores in (after, before))
    interval = statistics.stratified_bootstrap(_difference, x, y)
    return Change(
        float(_difference(x, y)),
        float(interval.low),
        float(interval.high),
        min(statistics.num_runs(x), statistics.num_runs(y)),
    )


def _difference(x: statistics.Scores, y: statistics.Scores) -> np.ndarray:
    return statistics.iqm(x) - statistics.iqm(y)


class Transfer(NamedTuple):
    """Returns on every game after every game of a run, means over seeds.

    Attributes:
      tasks: the games the run went through, in order, e.g. "3 frostbite".
      games: that were played for evaluation.
      returns: [tasks, games], human-normalized; nan where there was no evaluation.
    """

    tasks: list[str]
    games: list[str]
    returns: np.ndarray


def transfer(arm: comparison.Arm) -> Transfer | None:
    """The matrix of returns by game left and game played; None if only present games were."""
    cells: dict[tuple[int, str], dict[int, float]] = {}
    for run in arm.runs:
        for row in run.evaluations():
            cells.setdefault((row.task, row.game), {})[row.seed] = row.mean_return
    played = {game for _, game in cells}
    games = [game for game in arm.runs[0].games if game in played & set(reference_scores.SCORES)]
    numbers = sorted({task for task, _ in cells})
    if len(cells) <= len(numbers):
        return None
    returns = np.full((len(numbers), len(games)), np.nan)
    for i, task in enumerate(numbers):
        for j, game in enumerate(games):
            if seeds := cells.get((task, game)):
                mean = float(np.mean(list(seeds.values())))
                returns[i, j] = reference_scores.human_normalized(game, mean)
    names = arm.runs[0].games
    tasks = [f"{task + 1} {names[task % len(names)]}" for task in numbers]
    return Transfer(tasks, games, returns)


def forgetting(matrix: Transfer) -> dict[str, float]:
    """By how much each game's score fell from the end of its own game to the end of the run.

    Games played in the last task of the run, which could not be forgotten, are left out.
    """
    lost = {}
    for j, game in enumerate(matrix.games):
        own = [i for i, task in enumerate(matrix.tasks) if task.split()[1] == game]
        if own and own[-1] < len(matrix.tasks) - 1:
            lost[game] = float(matrix.returns[own[-1], j] - matrix.returns[-1, j])
    return lost


def forward_transfer(matrix: Transfer, control: Transfer | None) -> dict[str, float] | None:
    """Scores at the end of each game's first pass minus the control's, which begins anew."""
    if control is None:
        return None
    gained = {}
    for j, game in enumerate(matrix.games):
        own = [i for i, task in enumerate(matrix.tasks) if task.split()[1] == game]
        if own and game in control.games and own[0] < len(control.tasks):
            theirs = control.returns[own[0], control.games.index(game)]
            gained[game] = float(matrix.returns[own[0], j] - theirs)
    return gained
