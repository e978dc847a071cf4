"""What becomes of an agent that goes through games twice: plasticity, forgetting and transfer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis import comparison, reference_scores, run_records, statistics

_NUM_SAMPLES = 2000


class Pass(NamedTuple):
    """One pass through the games.

    Attributes:
      number: from 1.
      returns: at the last evaluation in each game that is over, by game and seed; unnormalized. If
        a game occurs twice in a pass, its last visit.
    """

    number: int
    returns: Mapping[str, Mapping[int, float]]

    @property
    def seeds(self) -> list[int]:
        """Those that have all games."""
        return sorted(set.intersection(*(set(by_seed) for by_seed in self.returns.values())))

    def normalized(self, seeds: Sequence[int]) -> statistics.Scores:
        """Human-normalized scores of such seeds; {} without any."""
        of_seeds = {g: np.array([x[seed] for seed in seeds]) for g, x in self.returns.items()}
        return comparison.normalized(of_seeds) if seeds else {}


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

    Passes without any are left out; one that is not complete has the games and seeds that are
    there.
    """
    games, last = arm.runs[0].games, {}
    for run in arm.runs:
        for row in _of_ended_tasks(run):
            if row.game == games[row.task % len(games)]:
                last[row.task, row.seed] = row.mean_return
    numbers = sorted({task // len(games) for task, _ in last})
    return [Pass(number + 1, _by_game(last, number, games)) for number in numbers]


def _of_ended_tasks(run: run_records.RunRecord) -> Iterator[run_records.Evaluation]:
    """Evaluations in tasks that a run has left: others will be followed by later ones."""
    ended = run.frames // run.frames_per_task
    return (row for row in run.evaluations() if row.task < ended)


def _by_game(
    last: Mapping[tuple[int, int], float], number: int, games: Sequence[str]
) -> dict[str, dict[int, float]]:
    # Of a game that occurs twice the later number stays.
    visits = {game: number * len(games) + i for i, game in enumerate(games)}
    return {
        game: {seed: value for (task, seed), value in sorted(last.items()) if task == visit}
        for game, visit in visits.items()
    }


def change(after: Pass, before: Pass, same_runs: bool) -> Change | None:
    """IQM of `after` minus IQM of `before`, of seeds that have all games, with its interval.

    Args:
      after: a pass.
      before: one through the same games.
      same_runs: whether both are of the same runs. Seeds are then those that have all games of
        both, and are resampled together.

    Returns:
      None if there are no such seeds, or no game has reference scores.
    """
    ours, theirs = after.seeds, before.seeds
    if same_runs:
        ours = theirs = [seed for seed in ours if seed in theirs]
    x, y = (
        np.array(list(one.normalized(seeds).values()))
        for one, seeds in ((after, ours), (before, theirs))
    )
    if not (x.size and y.size):
        return None
    draws_x = _draw_seeds(x.shape[1], 0)
    draws_y = draws_x if same_runs else _draw_seeds(y.shape[1], 1)
    samples = _iqm(x[:, draws_x]) - _iqm(y[:, draws_y])
    low, high = np.quantile(samples, [0.025, 0.975])
    value = _iqm(x[:, None]) - _iqm(y[:, None])
    return Change(float(value[0]), float(low), float(high), min(x.shape[1], y.shape[1]))


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
      seeds: that all of them are of.
    """

    tasks: list[str]
    games: list[str]
    returns: np.ndarray
    seeds: list[int]


def transfer(arm: comparison.Arm) -> Transfer | None:
    """Returns by game left and game evaluated, of the seeds that have all that some seed has.

    None if there are no such seeds, only current games were evaluated, or none has reference
    scores.
    """
    cells: dict[tuple[int, str], dict[int, float]] = {}
    for run in arm.runs:
        for row in _of_ended_tasks(run):
            cells.setdefault((row.task, row.game), {})[row.seed] = row.mean_return
    played = {game for _, game in cells}
    known = played & set(reference_scores.SCORES)
    games = [game for game in dict.fromkeys(arm.runs[0].games) if game in known]
    numbers = sorted({task for task, _ in cells})
    everywhere = set.intersection(*map(set, cells.values())) if cells else set()
    seeds = [seed for run in arm.runs for seed in run.seeds if seed in everywhere]
    if len(cells) <= len(numbers) or not games or not seeds:
        return None
    returns = np.full((len(numbers), len(games)), np.nan)
    for i, task in enumerate(numbers):
        for j, game in enumerate(games):
            if of_cell := cells.get((task, game)):
                mean = float(np.mean([of_cell[seed] for seed in seeds]))
                returns[i, j] = reference_scores.human_normalized(game, mean)
    names = arm.runs[0].games
    tasks = [f"{task + 1} {names[task % len(names)]}" for task in numbers]
    return Transfer(tasks, games, returns, seeds)


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
