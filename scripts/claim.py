"""Tests a claim of the source documents: trains what is missing and applies the protocol's rule.

python -m scripts.claim N15          # a small size, to see that it works
python -m scripts.claim N15 --full   # the protocol's, which docs/claims.md speaks of
python -m scripts.claim N8 --full --read  # from the runs that there are, of whichever one commit
python -m scripts.claim --list       # all claims with verdict and cost
python -m scripts.claim --page       # writes docs/claims.md and its figures from docs/results

The same command continues what was stopped. All runs of an experiment are of one commit: long ones
are best run in a checkout of their own (git worktree). Scores, configurations and the figure are
written to ROOT/EXPERIMENT/SIZE/results; copied to docs/results/EXPERIMENT, full ones become the
project's.
"""

import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from absl import flags, logging

from analysis import run_records
from analysis.claims import catalogue, ledger, page
from analysis.claims import evidence as evidence_lib
from analysis.claims.experiments import contract, registry
from analysis.figures import curves
from cluster.supervision import processes
from cluster.sweeps import sweep_jobs, sweep_record
from core import checks
from scripts import command_line
from training import run_directory
from training.system import exit_codes, stopping

PAGE = Path(__file__).parents[1] / "docs" / "claims.md"
_RESULTS = PAGE.parent / "results"
_POLL_SECONDS = 0.2

_FULL = flags.DEFINE_bool("full", False, "The size of the protocol.")
_LIST = flags.DEFINE_bool("list", False, "List all claims; run none.")
_PAGE = flags.DEFINE_bool("page", False, "Write docs/claims.md and its figures, and run nothing.")
_READ = flags.DEFINE_bool("read", False, "Train nothing: read what runs there are.")
_ROOT = flags.DEFINE_string("root", "runs/claims", "Where runs and results go.")
_EXPERIMENTS = flags.DEFINE_list("experiments", None, "Of the claim's; default: all.")
_WORKERS = flags.DEFINE_integer("workers", 2, "Runs at once.", lower_bound=1)


class _UnfinishedError(Exception):
    """A script did not finish; its exit code is the argument."""


def main(argv: Sequence[str]) -> int:
    """Runs the claim's experiments; returns the exit code of a script that does not finish."""
    if (_LIST.value or _PAGE.value) and len(argv) > 1:
        raise checks.ConfigError(f"claim = {argv[1]!r}: expected none with --list or --page")
    if not _RESULTS.is_dir():
        raise checks.ConfigError(f"{_RESULTS}: not there: expected a checkout of the project")
    if _LIST.value:
        print("\n".join(_listed()))
        return 0
    if _PAGE.value:
        found = page.read_evidence(_RESULTS)
        PAGE.write_text(_render(found), encoding="utf-8")
        _draw_figures(found)
        return 0
    claim = _find(argv[1:])
    if Path.cwd() != PAGE.parents[1]:
        raise checks.ConfigError(
            f"present directory = {Path.cwd()}: expected that of the checkout, {PAGE.parents[1]}"
        )
    try:
        found = _run_all(_chosen(claim))
    except _UnfinishedError as error:
        return error.args[0]
    row = page.assess(claim, found)
    print(f"{claim.id}: {claim.statement}")
    for name, findings in row.findings.items():
        for finding in findings:
            print(f"  {name}: {finding}")
        print(f"  figure: {_root(name) / 'results' / 'figure.png'}")
        print(f"  the source: {registry.EXPERIMENTS[name].described}")
    counts = all(one.is_full for one in found.values())
    remark = "" if counts else " (not the runs of the protocol: it does not count)"
    print(f"  {page.shown(row)}{remark}")
    return 0


def make_page() -> str:
    """The text of docs/claims.md."""
    return _render(page.read_evidence(_RESULTS))


def _render(found: Mapping[str, evidence_lib.Evidence]) -> str:
    return page.render([page.assess(claim, found) for claim in catalogue.CLAIMS], found)


def _draw_figures(found: Mapping[str, evidence_lib.Evidence]) -> None:
    for name, of_one in found.items():
        curves.save(registry.EXPERIMENTS[name].draw(of_one), _RESULTS / name / "figure.png")


def _find(arguments: Sequence[str]) -> ledger.Claim:
    ids = {claim.id: claim for claim in catalogue.CLAIMS}
    if len(arguments) != 1 or arguments[0] not in ids:
        given = " ".join(arguments)
        raise checks.ConfigError(f"claim = {given!r}: expected one of {', '.join(ids)}")
    claim = ids[arguments[0]]
    if not claim.tests:
        why = claim.note or "no experiment is built for it yet"
        raise checks.ConfigError(f"claim = {claim.id!r}: can't be run: {why}")
    return claim


def _chosen(claim: ledger.Claim) -> Sequence[str]:
    names = [test.experiment for test in claim.tests]
    chosen = _EXPERIMENTS.value or names
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise checks.ConfigError(
            f"experiments = {unknown[0]!r}: expected one of {claim.id}'s, {', '.join(names)}"
        )
    return chosen


def _root(name: str) -> Path:
    return Path(_ROOT.value) / name / ("full" if _FULL.value else "small")


def _run_all(names: Sequence[str]) -> dict[str, evidence_lib.Evidence]:
    """Runs one experiment after another, and says how long those that are left may take."""
    minutes = [registry.EXPERIMENTS[name].minutes[_FULL.value] for name in names]
    found = {}
    for number, name in enumerate(names):
        logging.info(
            "experiment %d of %d, %s: about %d minutes on two cores, %d with all that follow",
            *(number + 1, len(names), name, minutes[number], sum(minutes[number:])),
        )
        found[name] = _run(name)
    return found


def _run(name: str) -> evidence_lib.Evidence:
    """Trains what is missing, or with --read notes it, and writes results/."""
    experiment, root = registry.EXPERIMENTS[name], _root(name)
    missing: list[sweep_jobs.Job] = []

    def note(script: str, arguments: Sequence[str]) -> None:
        if script == "sweep":
            missing.extend(_not_ended(arguments))

    if not _READ.value:
        _check_commit(root)
    call = note if _READ.value else _call
    runner = contract.Runner(call, root, _FULL.value, _WORKERS.value)
    outcome = experiment.run(runner)
    if missing:
        logging.warning("%s: %d runs have not ended, such as %s", root, len(missing), missing[0])
    results = runner.results
    evidence_lib.write(results, *outcome, is_full=_FULL.value and not missing)
    # As docs/claims.md will read it.
    found = evidence_lib.read(results)
    assert found is not None
    curves.save(experiment.draw(found), results / "figure.png")
    return found


def _call(script: str, arguments: Sequence[str]) -> None:
    """Runs a script, which is asked to stop when this is."""
    logging.info("python -m scripts.%s %s", script, " ".join(arguments))
    command = [sys.executable, "-m", f"scripts.{script}", *arguments]
    # In a session of its own, so that Ctrl-C does not reach it twice.
    process = subprocess.Popen(command, start_new_session=True)
    try:
        with stopping.StopRequest("stopping the runs") as stop:
            while process.poll() is None and not stop.requested:
                time.sleep(_POLL_SECONDS)
            if stop.requested:
                process.terminate()
            code = process.wait()
    finally:
        process.kill()
    if stop.requested:
        raise _UnfinishedError(exit_codes.STOPPED)
    if script == "sweep" and code == exit_codes.RUNS_FAILED:
        check_failures(arguments)
    elif code:
        raise _UnfinishedError(code)


def check_failures(arguments: Sequence[str]) -> None:
    """Raises ConfigError if runs failed otherwise than by numbers: their experiment judges those.

    A machine without memory says nothing about a learning rate.
    """
    jobs, record = _sweep_of(arguments)
    for job in jobs:
        code = record.failed_with(job)
        if code not in (None, exit_codes.NOT_FINITE):
            raise checks.ConfigError(
                f"{record.log(job)}: the run failed with {processes.describe(code)}: once that is "
                "mended, the same command goes on"
            )


def _not_ended(arguments: Sequence[str]) -> list[sweep_jobs.Job]:
    """The runs that a call of scripts.sweep would make or continue."""
    jobs, record = _sweep_of(arguments)
    return [job for job in jobs if not record.has_ended(job)]


def _sweep_of(
    arguments: Sequence[str],
) -> tuple[list[sweep_jobs.Job], sweep_record.SweepRecord]:
    """The jobs of a call of scripts.sweep, and what is on record of them."""
    end = arguments.index("--")
    given = dict(flag.removeprefix("--").split("=", 1) for flag in arguments[:end])
    grid = sweep_jobs.Grid(
        given["configs"].split(","),
        given["arguments"].split(","),
        sweep_jobs.parse_seeds(given["seeds"].split(",")),
        arguments[end + 1 :],
    )
    return grid.jobs(), sweep_record.SweepRecord(Path(given["root"]))


def _check_commit(root: Path) -> None:
    """Raises ConfigError if there are runs of another commit, which could not be compared."""
    ours = run_directory.commit()
    for path in sorted(root.rglob("provenance.jsonl")):
        for theirs in {start["commit"] for start in run_records.read_starts(path)} - {ours}:
            raise checks.ConfigError(
                f"{path.parent}: of commit {theirs[:9]}, and the code is of {ours[:9]}: expected "
                "that one checked out, or another --root"
            )


def _listed() -> Iterable[str]:
    found = page.read_evidence(_RESULTS)
    for claim in catalogue.CLAIMS:
        verdicts = page.assess(claim, found).verdicts
        verdict = "by experiment" if len(verdicts) > 1 else next(iter(verdicts.values()))
        minutes = [registry.EXPERIMENTS[test.experiment].minutes for test in claim.tests]
        small, full = (sum(of_size) for of_size in zip(*minutes)) if minutes else (0, 0)
        cost = f"{small} min, full {full}" if minutes else ""
        yield f"{claim.id:4} {verdict:18} {cost:18} {claim.statement}"
        if len(verdicts) > 1:
            yield from (f"     {verdict:18} {name}" for name, verdict in verdicts.items())


if __name__ == "__main__":
    command_line.run(main, allow_arguments=True)
