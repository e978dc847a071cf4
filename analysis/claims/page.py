"""docs/claims.md: each claim, what was found, and the verdict."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis import task_streams
from analysis.claims import evidence as evidence_lib
from analysis.claims import ledger
from analysis.claims.experiments import registry
from core import checks

_INTRODUCTION = """# Claims

What three works claim, and what was found here:

* N: *Normalization and effective learning rates in reinforcement learning* (Lyle et al. 2024,
  NaP), and summaries of it;
* D: *Disentangling the causes of plasticity loss in neural networks* (Lyle et al. 2024);
* P: *Improving neural network plasticity in reinforcement learning* (Cheng, Chen and Ma).

Written by `python -m scripts.claim --page` from the numbers in [results](results); a verdict
follows from the rule of the experiment's `PROTOCOL.md`, which was written before the runs:

* *shown*: the interval over seeds lies within what the claim allows, with at least five seeds;
  *shown on a proxy* if the task is not the source's. What holds there need not hold on Atari.
* *contradicted*: it lies wholly outside; of several numbers any would do, so their intervals are
  widened for that (Bonferroni; added after some runs, it took back one contradiction, P9). *Not
  shown*: anything between, or what the rule asks for first, such as that a network has learned at
  all, does not hold. A run that fails, as those do whose numbers do not stay finite, has no score:
  a claim that needs it is not shown, and its row says why.
* *not testable here*: not on a CPU. *Not run*: nothing counts yet.

Intervals are over seeds. Runs in a stream of tasks have the same tasks in the same order, whose
luck the intervals leave out. Where arms are compared in a table, p is that of the exact sign test
with Holm's correction over the table; no verdict depends on it. Which rates were tried for an arm
is in the protocols, which were chosen in `configs/`; how well each did is in `tuning.csv`, but for
experiments that are older than that file.

`python -m scripts.claim N15` runs a claim's experiments in a small size, `--full` in that of the
protocol; the same command continues, and `--list` tells what there is. The last column has the
experiments: a link to what was found or, of one that was not run, to its protocol, with the minutes
that it is expected to take on two cores. `--experiments=NAME` runs that one alone.
"""


class Row(NamedTuple):
    """A claim, with findings and verdict of each experiment.

    Attributes:
      claim: the claim.
      findings: by experiment, of those there is evidence of.
      verdicts: by experiment, of all; {"": ...} for a claim without any.
    """

    claim: ledger.Claim
    findings: Mapping[str, Sequence[ledger.Finding]]
    verdicts: Mapping[str, ledger.Verdict]


def assess(claim: ledger.Claim, found: Mapping[str, evidence_lib.Evidence]) -> Row:
    """Applies a claim's rules to the experiments there is evidence of."""
    if not claim.tests:
        verdict = ledger.Verdict.NOT_RUN if claim.is_testable else ledger.Verdict.NOT_TESTABLE
        return Row(claim, {}, {"": verdict})
    findings, verdicts = {}, {}
    for test in claim.tests:
        name = test.experiment
        verdicts[name] = ledger.Verdict.NOT_RUN
        if name in found:
            try:
                findings[name] = test.rule(found[name])
            except evidence_lib.NotMeasuredError:
                continue
            is_proxy = bool(registry.EXPERIMENTS[name].proxy_of)
            verdicts[name] = ledger.judge(findings[name], is_proxy)
    return Row(claim, findings, verdicts)


def read_evidence(root: Path) -> dict[str, evidence_lib.Evidence]:
    """Of all experiments that have any in docs/results/.

    Raises:
      ConfigError: if some is not of the protocol's size, or of code that no commit has.
    """
    read = {name: evidence_lib.read(root / name) for name in registry.EXPERIMENTS}
    found = {name: one for name, one in read.items() if one is not None}
    for name, one in found.items():
        if not one.is_full:
            raise checks.ConfigError(
                f"{root / name / 'runs.csv'}: expected runs of scripts.claim --full without "
                "uncommitted changes"
            )
    return found


def shown(row: Row) -> str:
    """The verdict, or one for each experiment where there are several."""
    if len(row.verdicts) == 1:
        return str(next(iter(row.verdicts.values())))
    return "; ".join(f"{name}: {verdict}" for name, verdict in row.verdicts.items())


def render(rows: Sequence[Row], found: Mapping[str, evidence_lib.Evidence]) -> str:
    """The page."""
    table = ["| | claim | verdict | experiments |", "|---|---|---|---|"]
    for row in rows:
        table.append(f"| {row.claim.id} | {row.claim.statement} | {shown(row)} | {_remark(row)} |")
    sections = [_section(name, found[name], rows) for name in found]
    return "\n".join([_INTRODUCTION, *table, "", *sections])


def _remark(row: Row) -> str:
    found = [f"[{name}](#{name})" for name in row.findings]
    missing = [test.experiment for test in row.claim.tests if test.experiment not in row.findings]
    for name in missing:
        minutes = registry.EXPERIMENTS[name].minutes[1]
        found.append(f"[{name}](results/{name}/PROTOCOL.md), about {minutes} minutes")
    return "; ".join([*found, row.claim.note] if row.claim.note else found)


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{max(1, round(60 * hours))} min"


def _command(row: Row, experiment: str) -> str:
    return f"python -m scripts.claim {row.claim.id} --full --experiments={experiment}"


def _section(name: str, found: evidence_lib.Evidence, rows: Sequence[Row]) -> str:
    experiment = registry.EXPERIMENTS[name]
    proxy = f" A proxy for {experiment.proxy_of}." if experiment.proxy_of else ""
    # Without a finding, those whose rules speak of what these runs have not measured.
    concerned = [row for row in rows if name in row.findings]
    of_all = concerned or [row for row in rows if name in row.verdicts]
    lines = [
        f"## {name}",
        "",
        f"{experiment.title}.{proxy} [Protocol](results/{name}/PROTOCOL.md), "
        f"[scores](results/{name}/scores.csv), configurations beside them. "
        f"Commit {found.commit[:9]}, {found.hardware}, {_duration(found.hours)} of runs. "
        f"The source: {experiment.described}.",
        "",
        *(f"    {_command(row, name)}\n" for row in of_all[:1]),
        *(f"* {row.claim.id}: {finding}" for row in concerned for finding in row.findings[name]),
        "",
        *_compared(found, experiment.compared),
        f"![{name}](results/{name}/figure.png)",
        "",
    ]
    return "\n".join(lines)


def _compared(found: evidence_lib.Evidence, compared: tuple[str, str] | None) -> Iterator[str]:
    """A table of every arm's last tasks beside those of one, if one is asked for and measured."""
    quantity, base = compared or ("", "")
    # Seeds that failed have no difference, and an arm of which all failed has no row.
    finished = {
        arm: {seed: tasks for seed, tasks in by_seed.items() if np.isfinite(tasks).all()}
        for arm, by_seed in found.scores.get(quantity, {}).items()
    }
    if not finished.get(base):
        return
    yield f"| {quantity} in the last tasks, less that of {base} | mean | above in | p |"
    yield "|---|---|---|---|"
    arms = {arm: by_seed for arm, by_seed in finished.items() if by_seed}
    for arm, one in task_streams.differences(arms, base).items():
        mean, low, high, seeds = one.estimate
        yield (
            f"| {arm} | {mean:+.3f} [{low:+.3f}, {high:+.3f}] | {one.wins} of {seeds} "
            f"| {one.adjusted:.1g} |"
        )
    yield ""
