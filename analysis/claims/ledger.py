"""A claim, the findings about it, and the verdict that follows from them."""

import enum
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from scipy import stats

from analysis.claims import evidence as evidence_lib

FEWEST_SEEDS = 5


class Verdict(enum.StrEnum):
    """What may be said of a claim."""

    SHOWN = "shown"
    SHOWN_ON_PROXY = "shown on a proxy"
    NOT_SHOWN = "not shown"
    CONTRADICTED = "contradicted"
    NOT_TESTABLE = "not testable here"
    NOT_RUN = "not run"


class Finding(NamedTuple):
    """A number that a claim speaks of, with an interval over seeds.

    Attributes:
      what: it is.
      mean: over seeds, or over pairs of them.
      low: of the 95 % interval, of the 90 % one for an equivalence.
      high: of the same.
      seeds: how many.
      expected: the values that the claim allows, as an open interval.
      outer: the 95 % interval where the first is of 90 %.
      is_precondition: whether nothing follows from the other findings where this is not shown.
    """

    what: str
    mean: float
    low: float
    high: float
    seeds: int
    expected: tuple[float, float]
    outer: tuple[float, float] | None = None
    is_precondition: bool = False

    @property
    def is_shown(self) -> bool:
        """Whether the interval lies within what is expected, with enough seeds."""
        low, high = self.expected
        return self.seeds >= FEWEST_SEEDS and low < self.low and self.high < high

    def is_contradicted(self, among: int) -> bool:
        """Whether it lies wholly outside, with enough seeds; a precondition never does.

        Args:
          among: findings of which each would do: the interval is widened, so that one of them lies
            outside by chance 5 times in 100 at most (Bonferroni).
        """
        if self.is_precondition or self.seeds < FEWEST_SEEDS:
            return False
        at, at_each = (float(stats.t.ppf(1 - 0.025 / n, self.seeds - 1)) for n in (1, among))
        low, high = (
            self.mean + (bound - self.mean) * at_each / at
            for bound in self.outer or (self.low, self.high)
        )
        return high < self.expected[0] or low > self.expected[1]

    def __str__(self) -> str:
        low, high = self.expected
        rule = f"> {low:g}" if math.isinf(high) else f"< {high:g}" if math.isinf(low) else ""
        rule = rule or f"within {low:g} and {high:g}"
        return (
            f"{self.what}: {self.mean:+.3g} [{self.low:+.3g}, {self.high:+.3g}], "
            f"{self.seeds} seeds (expected {rule})"
        )


Rule = Callable[[evidence_lib.Evidence], Sequence[Finding]]


class Test(NamedTuple):
    """Of a claim: the experiment that tests it and the rule of its protocol."""

    experiment: str
    rule: Rule


class Claim(NamedTuple):
    """A statement of a source document.

    Attributes:
      id: N1, D1, P1, ... by source.
      statement: what is claimed, in one sentence.
      tests: what can be run for it here; () if nothing yet.
      note: of what the tests are a proxy, what checks it otherwise, or why it can't be tested.
      is_testable: on a CPU, at all.
    """

    id: str
    statement: str
    tests: Sequence[Test] = ()
    note: str = ""
    is_testable: bool = True


def judge(findings: Sequence[Finding], is_proxy: bool) -> Verdict:
    """The verdict on a claim that asks for all of some findings, one at least."""
    if not findings or any(f.is_precondition and not f.is_shown for f in findings):
        return Verdict.NOT_SHOWN
    among = sum(not finding.is_precondition for finding in findings)
    if any(finding.is_contradicted(among) for finding in findings):
        return Verdict.CONTRADICTED
    if not all(finding.is_shown for finding in findings):
        return Verdict.NOT_SHOWN
    return Verdict.SHOWN_ON_PROXY if is_proxy else Verdict.SHOWN
