"""Rules of the protocols: from the scores of an experiment to the findings of a claim.

Each is told in the experiment's PROTOCOL.md, which was written before the runs. The scores of a run
that failed are nan, and so are the findings that speak of it: nothing is shown. In streams of tasks
`last` is the mean of the last third, and `change` that less the mean of tasks 5 to 10
(task_streams).
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from analysis import pairing, statistics, task_streams
from analysis.claims import evidence as evidence_lib
from analysis.claims import ledger

ABOVE_0 = (0.0, math.inf)
BELOW_0 = (-math.inf, 0.0)


def changes(quantity: str, arms: Sequence[str], expected: tuple[float, float]) -> ledger.Rule:
    """Of each arm, the `change` of a quantity is as expected."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        return [
            _finding(
                f"{quantity} of {arm}, last tasks - early tasks",
                _each(found, quantity, arm, _change),
                expected,
            )
            for arm in arms
        ]

    return rule


def ends_within(quantity: str, arm: str, expected: tuple[float, float]) -> ledger.Rule:
    """An arm's `last` is as expected."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        what = f"{quantity} of {arm} in the last tasks"
        return [_finding(what, _each(found, quantity, arm, task_streams.last), expected)]

    return rule


def at_end_within(quantity: str, arm: str, expected: tuple[float, float]) -> ledger.Rule:
    """An arm's last score alone is as expected."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        values = _each(found, quantity, arm, lambda tasks: tasks[-1])
        return [_finding(f"last {quantity} of {arm}", values, expected)]

    return rule


def has_learned(quantity: str, arm: str, least: float) -> ledger.Rule:
    """An arm's last score is above what is had without learning, or nothing follows from others.

    Where it is missed a claim is neither shown nor contradicted.
    """

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        values = _each(found, quantity, arm, lambda scores: scores[-1])
        finding = _finding(f"last {quantity} of {arm}", values, (least, math.inf))
        return [finding._replace(is_precondition=True)]

    return rule


def stays_within(quantity: str, arm: str, expected: tuple[float, float]) -> ledger.Rule:
    """An arm's largest score is as expected."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        values = _each(found, quantity, arm, np.max)
        return [_finding(f"largest {quantity} of {arm}", values, expected)]

    return rule


def goes_with(quantity: str, other: str, arm: str, expected: tuple[float, float]) -> ledger.Rule:
    """Over an arm's seeds, a quantity's `last` is correlated by rank with another's `change`."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        lasts = _each(found, quantity, arm, task_streams.last)
        rho = statistics.spearman(np.stack([lasts, _each(found, other, arm, _change)]))
        # Fieller, Hartley and Pearson 1957.
        half = 1.96 * math.sqrt(1.06 / (len(lasts) - 3)) if len(lasts) > 3 else math.nan
        low, high = (math.tanh(_arctanh(rho) + x) for x in (-half, half))
        what = f"rank correlation of last {quantity} with the change of {other}, {arm}"
        return [ledger.Finding(_named(what, lasts), rho, low, high, len(lasts), expected)]

    return rule


def _arctanh(value: float) -> float:
    """Finite for ±1 too."""
    return math.atanh(value * (1 - 1e-12))


def falls_below_first(quantity: str, arm: str) -> ledger.Rule:
    """An arm's `last` is below its first task, where that is a measure of a new network."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        values = _each(found, quantity, arm, _since_first)
        return [_finding(f"{quantity} of {arm}, last tasks - first task", values, BELOW_0)]

    return rule


def differs(
    quantity: str, arm: str, others: Sequence[str], expected: tuple[float, float]
) -> ledger.Rule:
    """An arm's `last` less that of each other, paired by seed, is as expected."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        where = f"{quantity} in the last tasks"
        return _differences(where, found.scores[quantity], arm, others, task_streams.last, expected)

    return rule


def differs_early(
    quantity: str, arm: str, others: Sequence[str], expected: tuple[float, float]
) -> ledger.Rule:
    """An arm's mean of tasks 5 to 10 less that of each other, paired by seed, is as expected."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        where = f"{quantity} in the early tasks"
        early = lambda tasks: task_streams.parts(tasks)[0]  # noqa: E731
        return _differences(where, found.scores[quantity], arm, others, early, expected)

    return rule


def differs_at(
    quantity: str, arm: str, others: Sequence[str], expected: tuple[float, float], position: int
) -> ledger.Rule:
    """The same of the score at one position: 0 is the first, -1 the last."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        where = f"{quantity} at position {found.positions[position]}"
        read = lambda scores: scores[position]  # noqa: E731
        return _differences(where, found.scores[quantity], arm, others, read, expected)

    return rule


def _differences(
    where: str,
    scores: evidence_lib.Scores,
    arm: str,
    others: Sequence[str],
    read: Callable[[np.ndarray], float],
    expected: tuple[float, float],
) -> list[ledger.Finding]:
    """What is read of an arm's scores less that of each other, paired by seed."""
    return [
        _finding(f"{where}, {arm} - {other}", _paired(scores, arm, other, read), expected)
        for other in others
    ]


def differ_at_end(quantity: str, arms: Sequence[str]) -> ledger.Rule:
    """The last scores of any two arms differ, paired by seed, whichever is above the other.

    It can be shown but not contradicted: of the two differences the one above 0 is told.
    """

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        findings = []
        for pair in itertools.combinations(arms, 2):
            values = _paired(found.scores[quantity], *pair, lambda scores: scores[-1])
            above, below = pair if np.mean(values) >= 0 else pair[::-1]
            what = f"last {quantity}, {above} - {below}"
            findings.append(_finding(what, values if above == pair[0] else -values, ABOVE_0))
        return findings

    return rule


def falls_less(quantity: str, arms: Sequence[str]) -> ledger.Rule:
    """Each arm falls less than the next from its first task to its last, paired by seed."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        scores = found.scores[quantity]
        return [
            _finding(
                f"{quantity}, last tasks - first task, {arm} - {other}",
                _paired(scores, arm, other, _since_first),
                ABOVE_0,
            )
            for arm, other in itertools.pairwise(arms)
        ]

    return rule


def _paired(
    scores: evidence_lib.Scores, arm: str, other: str, read: Callable[[np.ndarray], float]
) -> np.ndarray:
    """What is read of an arm's scores less that of another's, for each seed that both have."""
    return pairing.differences(scores[arm], scores[other], arm, read)


def all_of(*rules: ledger.Rule) -> ledger.Rule:
    """The findings of several rules, all of which a claim asks for."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        return [finding for one in rules for finding in one(found)]

    return rule


def nearer(quantity: str, to: str, arms: Sequence[str]) -> ledger.Rule:
    """Each arm is nearer to one than the next is: mean distances over tasks, paired by seed."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        scores = found.scores[quantity]
        seeds = _common_seeds(scores, (to, *arms))
        distances = {
            arm: np.array([np.abs(scores[arm][s] - scores[to][s]).mean() for s in seeds])
            for arm in arms
        }
        return [
            _finding(
                f"distance of {quantity} to {to}, {farther} - {arm}",
                distances[farther] - distances[arm],
                ABOVE_0,
            )
            for arm, farther in itertools.pairwise(arms)
        ]

    return rule


def closer_and_higher(quantity: str, arms: Sequence[str], others: Sequence[str]) -> ledger.Rule:
    """Arms' means over all tasks spread less than others', and are higher on average.

    The spread of a seed is its largest mean less its smallest.
    """

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        scores = found.scores[quantity]
        seeds = _common_seeds(scores, (*arms, *others))
        # [arms, seeds]
        ours, theirs = (
            np.array([[scores[name][seed].mean() for seed in seeds] for name in names])
            for names in (arms, others)
        )
        return [
            _finding(
                f"spread of {quantity}, less",
                np.ptp(theirs, axis=0) - np.ptp(ours, axis=0),
                ABOVE_0,
            ),
            _finding(f"mean {quantity}, more", ours.mean(0) - theirs.mean(0), ABOVE_0),
        ]

    return rule


def _each(
    found: evidence_lib.Evidence, quantity: str, arm: str, read: Callable[[np.ndarray], float]
) -> np.ndarray:
    """What is read of an arm's scores, by seed [S]."""
    return np.array([read(scores) for scores in found.scores[quantity][arm].values()])


def _change(tasks: np.ndarray) -> float:
    early, last = task_streams.parts(tasks)
    return last - early


def _since_first(tasks: np.ndarray) -> float:
    return task_streams.last(tasks) - tasks[0]


def _finding(what: str, values: np.ndarray, expected: tuple[float, float]) -> ledger.Finding:
    return ledger.Finding(_named(what, values), *pairing.estimate(values), expected)


def _named(what: str, values: np.ndarray) -> str:
    """With how many seeds have no value, as a run of theirs failed."""
    failed = int(np.isnan(values).sum())
    return f"{what} ({failed} seeds failed)" if failed else what


def _common_seeds(scores: evidence_lib.Scores, names: Sequence[str]) -> list[int]:
    return sorted(set.intersection(*(set(scores[name]) for name in names)))


def ends_the_same(quantity: str, pairs: Sequence[tuple[str, str]], margin: float) -> ledger.Rule:
    """The last scores of each pair of arms are within ±margin: two one-sided tests at 5 %."""
    return _equivalent(f"last {quantity}", quantity, pairs, margin, lambda x: x[-1])


def late_tasks_the_same(
    quantity: str, pairs: Sequence[tuple[str, str]], margin: float
) -> ledger.Rule:
    """The same of `last`, the mean of the last third of tasks."""
    what = f"{quantity} in the last tasks"
    return _equivalent(what, quantity, pairs, margin, task_streams.last)


def _equivalent(
    what: str,
    quantity: str,
    pairs: Sequence[tuple[str, str]],
    margin: float,
    read: Callable[[np.ndarray], float],
) -> ledger.Rule:
    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        findings = []
        for arm, other in pairs:
            values = _paired(found.scores[quantity], arm, other, read)
            same, outer = (pairing.estimate(values, level) for level in (0.9, 0.95))
            named = _named(f"{what}, {arm} - {other}", values)
            bounds = (outer.low, outer.high)
            findings.append(ledger.Finding(named, *same, (-margin, margin), bounds))
        return findings

    return rule


def reaches_later(quantity: str, arm: str, other: str, threshold: float) -> ledger.Rule:
    """An arm reaches a score later than another, paired by seed, with a bootstrap interval.

    A seed that never does counts as if it did at the end.
    """

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        first = functools.partial(_first, found, threshold)
        delays = _paired(found.scores[quantity], arm, other, first)
        what = _named(f"frames until a {quantity} of {threshold:g}, {arm} - {other}", delays)
        failed = np.isnan(delays).any()
        low, high = (math.nan, math.nan) if failed else pairing.bootstrap(delays)
        return [ledger.Finding(what, float(delays.mean()), low, high, len(delays), ABOVE_0)]

    return rule


def _first(found: evidence_lib.Evidence, threshold: float, values: np.ndarray) -> float:
    if np.isnan(values).any():  # of a run that failed
        return math.nan
    reached = np.flatnonzero(values >= threshold)
    return float(found.positions[reached[0] if reached.size else -1])
