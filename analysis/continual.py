"""What becomes of an agent that goes through games twice: plasticity, forgetting and transfer."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis import comparison, reference_scores, statistics

_NUM_SAMPLES = 2000


class Pass(NamedTuple):
    """One pass through the games.

    Attributes:
      number: from 1.
      returns: at the last evaluation in each game, [seeds] by game; unnormalized. If a game
        occurs twice in a pass, its last visit.
    """

    number: int
    returns: dict[str, np.ndarray]

    @property
    def normalized(self) -> statistics.Scores:
        """Human-normalized."""
        return comparison.normalized(self.returns)


class Change(NamedTuple):
    """A difference of IQMs of human-normalized scores and its 95 % interval over seeds.

    Not of means: on a game where the human is hardly better than chance, such as Double Dunk, a
    small change of the return would outweigh all other games. All games of a seed are resampled
    together, as one network played them.
    """

    value: float
    low: float
    high: float
    num_runs: int


def passes(arm: comparison.Arm) -> list[Pass]:
    """Each pass through the games, by the last evaluation on a game before it is left.

    Passes without any evaluation are left out; an incomplete pass has only the games that
    are there.
    """
    last: dict[tuple[int, str, int], float] = {}
    for run in arm.runs:
        num_games = len(run.games)
        for row in run.evaluations():
            if row.game == run.games[row.task % num_games]:
                last[row.task // num_games, row.game, row.seed] = row.mean_return
    numbers = sorted({number for number, *_ in last})
    games = list(dict.fromkeys(arm.runs[0].games))
    return [Pass(number + 1, _by_game(last, number, games)) for number in numbers]


def _by_game(
    last: Mapping[tuple[int, str, int], float], number: int, games: Sequence[str]
) -> dict[str, np.ndarray]:
    returns = {}
    for game in games:
        values = [v for (i, g, _), v in sorted(last.items()) if (i, g) == (number, game)]
        if values:
            returns[game] = np.array(values)
    return returns


def change(after: statistics.Scores, before: statistics.Scores, same_runs: bool) -> Change | None:
    """IQM of `after` minus IQM of `before` over the games in both, with its interval.

    Args:
      after: scores by game, [seeds], in the same order of seeds in every game.
      before: likewise.
      same_runs: whether both are of the same runs, which are then resampled together.

    Returns:
      None if no game is in both, or if seeds are missing somewhere.
    """
    games = [game for game in after if game in before]
    x, y = (
        np.array([scores[game] for game in games]) if _is_table(scores, games) else None
        for scores in (after, before)
    )
    if x is None or y is None or (same_runs and x.shape != y.shape):
        return None
    draws_x = _draw_seeds(x.shape[1], 0)
    draws_y = draws_x if same_runs else _draw_seeds(y.shape[1], 1)
    samples = _iqm(x[:, draws_x]) - _iqm(y[:, draws_y])
    low, high = np.quantile(samples, [0.025, 0.975])
    value = _iqm(x[:, None]) - _iqm(y[:, None])
    return Change(float(value[0]), float(low), float(high), min(x.shape[1], y.shape[1]))


def _is_table(scores: statistics.Scores, games: Sequence[str]) -> bool:
    return len({len(scores[game]) for game in games}) == 1


def _draw_seeds(num_seeds: int, rng_seed: int) -> np.ndarray:
    """Resampled seeds [samples, seeds]: one draw for all games, as one network played them."""
    rng = np.random.default_rng(rng_seed)
    return rng.integers(num_seeds, size=(_NUM_SAMPLES, num_seeds))


def _iqm(scores: np.ndarray) -> np.ndarray:
    """IQM [samples] of scores [games, samples, seeds]."""
    return statistics.iqm({str(i): of_game for i, of_game in enumerate(scores)})


class Transfer(NamedTuple):
    """Returns on every game after every game of a run, means over seeds.

    Attributes:
      tasks: the games the run went through, in order, e.g. "3 frostbite".
      games: those played for evaluation.
      returns: [tasks, games], human-normalized; nan where there was no evaluation.
    """

    tasks: list[str]
    games: list[str]
    returns: np.ndarray


def transfer(arm: comparison.Arm) -> Transfer | None:
    """Returns by game left and game evaluated.

    None if only current games were evaluated, or none has reference scores.
    """
    cells: dict[tuple[int, str], dict[int, float]] = {}
    for run in arm.runs:
        for row in run.evaluations():
            cells.setdefault((row.task, row.game), {})[row.seed] = row.mean_return
    played = {game for _, game in cells}
    known = played & set(reference_scores.SCORES)
    games = [game for game in dict.fromkeys(arm.runs[0].games) if game in known]
    numbers = sorted({task for task, _ in cells})
    if len(cells) <= len(numbers) or not games:
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
    """Scores at the end of each game's first pass minus the control's, which restarts."""
    if control is None:
        return None
    gained = {}
    for j, game in enumerate(matrix.games):
        own = [i for i, task in enumerate(matrix.tasks) if task.split()[1] == game]
        if own and game in control.games and own[0] < len(control.tasks):
            theirs = control.returns[own[0], control.games.index(game)]
            gained[game] = float(matrix.returns[own[0], j] - theirs)
    return gained
