"""docs/claims.md: each claim, what was found, and the verdict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from analysis.claims import evidence as evidence_lib
from analysis.claims import experiments, ledger

_INTRODUCTION = """# Claims

What the source documents claim, and what was found here. Written by
`python -m scripts.claim --page` from the numbers in [results](results); a verdict follows from the
rule of the experiment's `PROTOCOL.md`, which is older than the runs:

* *shown*: the interval over seeds lies within what the claim allows, with at least five seeds;
  *shown on a proxy* if the task is not the source's. What holds there need not hold on Atari.
* *contradicted*: it lies wholly outside. *Not shown*: anything between.
* *not testable here*: not on a CPU. *Not run*: nothing counts yet.

`python -m scripts.claim N15` runs a claim's experiments in a small size, `--full` in that of the
protocol; the same command continues, and `--list` tells what there is.
"""


class Row(NamedTuple):
    """A claim with its verdict, and its findings by experiment."""

    claim: ledger.Claim
    verdict: ledger.Verdict
    findings: Mapping[str, Sequence[ledger.Finding]]


def assess(claim: ledger.Claim, found: Mapping[str, evidence_lib.Evidence]) -> Row:
    """Applies a claim's rules to the experiments there is evidence of."""
    findings = {
        test.experiment: test.rule(found[test.experiment])
        for test in claim.tests
        if test.experiment in found
    }
    if not findings:
        verdict = ledger.Verdict.NOT_RUN if claim.is_testable else ledger.Verdict.NOT_TESTABLE
        return Row(claim, verdict, {})
    is_proxy = any(experiments.EXPERIMENTS[name].proxy_of for name in findings)
    flat = [finding for listed in findings.values() for finding in listed]
    return Row(claim, ledger.judge(flat, is_proxy), findings)


def read_evidence(root: Path) -> dict[str, evidence_lib.Evidence]:
    """Of all experiments that have any in docs/results/."""
    read = {name: evidence_lib.read(root / name) for name in experiments.EXPERIMENTS}
    return {name: found for name, found in read.items() if found is not None}


def render(rows: Sequence[Row], found: Mapping[str, evidence_lib.Evidence]) -> str:
    """The page."""
    table = ["| | claim | verdict | |", "|---|---|---|---|"]
    for row in rows:
        table.append(f"| {row.claim.id} | {row.claim.statement} | {row.verdict} | {_remark(row)} |")
    sections = [_section(name, found[name], rows) for name in found]
    return "\n".join([_INTRODUCTION, *table, "", *sections])


def _remark(row: Row) -> str:
    links = [f"[{name}](#{name})" for name in row.findings]
    return "; ".join([*links, row.claim.note] if row.claim.note else links)


def _section(name: str, found: evidence_lib.Evidence, rows: Sequence[Row]) -> str:
    experiment = experiments.EXPERIMENTS[name]
    proxy = f" A proxy for {experiment.proxy_of}." if experiment.proxy_of else ""
    concerned = [row for row in rows if name in row.findings]
    lines = [
        f"## {name}",
        "",
        f"{experiment.title}.{proxy} [Protocol](results/{name}/PROTOCOL.md), "
        f"[scores and configurations](results/{name}). Commit {found.commit[:9]}, "
        f"{found.hardware}, {found.hours:.1f} hours of runs. The source: {experiment.described}.",
        "",
        f"    python -m scripts.claim {concerned[0].claim.id} --full",
        "",
        *(f"* {row.claim.id}: {finding}" for row in concerned for finding in row.findings[name]),
        "",
        f"![{name}](results/{name}/figure.png)",
        "",
    ]
    return "\n".join(lines)
