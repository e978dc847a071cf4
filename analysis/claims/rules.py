"""Rules of the protocols: from the scores of an experiment to the findings of a claim.

Each is told in the experiment's PROTOCOL.md, which was written before the runs.
"""

import math
from collections.abc import Sequence

import numpy as np

from analysis import equivalence, statistics, task_streams
from analysis.claims import evidence as evidence_lib
from analysis.claims import ledger

_ABOVE_0 = (0.0, math.inf)
_BELOW_0 = (-math.inf, 0.0)


def loses_plasticity(arm: str) -> ledger.Rule:
    """An arm's `change` in a stream of tasks is below 0 (task_streams)."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        change = task_streams.outcome(found.scores[arm]).change
        return [ledger.Finding(f"{arm}: last tasks - early tasks", *change, _BELOW_0)]

    return rule


def ends_above(arm: str, *others: str) -> ledger.Rule:
    """An arm's last third of tasks is above those of others, paired by seed."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        return [
            ledger.Finding(f"last tasks, {arm} - {other}", *estimate, _ABOVE_0)
            for other in others
            for estimate in [_difference(found.scores, arm, other)]
        ]

    return rule


def _difference(scores: evidence_lib.Scores, arm: str, other: str) -> task_streams.Estimate:
    pair = {name: scores[name] for name in (arm, other)}
    return task_streams.differences(pair, other)[arm].estimate


def ends_the_same(pairs: Sequence[tuple[str, str]], margin: float) -> ledger.Rule:
    """The last scores of each pair of arms are within ±margin: two one-sided tests at 5 %."""

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        findings = []
        for arm, other in pairs:
            ours, theirs = (
                {seed: float(values[-1]) for seed, values in found.scores[name].items()}
                for name in (arm, other)
            )
            same = equivalence.test(theirs, ours, margin)
            _, low, high = equivalence.mean_interval(
                [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
            )
            what = f"last score, {arm} - {other}"
            interval = (same.difference, same.low, same.high, same.pairs)
            findings.append(ledger.Finding(what, *interval, (-margin, margin), (low, high)))
        return findings

    return rule


def reaches_later(arm: str, other: str, threshold: float) -> ledger.Rule:
    """An arm reaches a score later than another, paired by seed, with a bootstrap interval.

    A seed that never does counts as if it did at the end.
    """

    def rule(found: evidence_lib.Evidence) -> Sequence[ledger.Finding]:
        ours, theirs = (
            {seed: _first(found, values, threshold) for seed, values in found.scores[name].items()}
            for name in (arm, other)
        )
        seeds = sorted(ours.keys() & theirs.keys())
        delays = np.array([ours[seed] - theirs[seed] for seed in seeds])
        bounds = statistics.stratified_bootstrap(statistics.mean, {"": delays}, num_samples=10_000)
        what = f"frames until {threshold:g}, {arm} - {other}"
        interval = (float(delays.mean()), float(bounds.low), float(bounds.high), len(seeds))
        return [ledger.Finding(what, *interval, _ABOVE_0)]

    return rule


def _first(found: evidence_lib.Evidence, values: np.ndarray, threshold: float) -> float:
    reached = np.flatnonzero(values >= threshold)
    return float(found.positions[reached[0] if reached.size else -1])
