"""What the learner knows of its evaluator."""

import time

from absl import logging

from cluster.messages import messages

_SILENT_S = 10.0
# A live one fetches parameters within a second; this ends unforeseen waits.
_LATE_S = 120.0


class EvaluatorAccount:
    """Which parameters the evaluator has, from its reports, and whether it is heard from."""

    def __init__(self):
        """Nothing was heard from it yet."""
        self._newest: messages.EvaluatorReport | None = None
        self._heard_at = 0.0

    def apply(self, report: messages.EvaluatorReport) -> None:
        """Applies a report to the account."""
        self._newest = report
        self._heard_at = time.monotonic()

    def is_waited_for(self, version: int, published_at: float) -> bool:
        """Whether the evaluator has yet to fetch some parameters.

        Not if it has them, nor if it is silent or has not fetched them for long, which is logged:
        a learner never waits forever.

        Args:
          version: of the parameters.
          published_at: when they were published, by time.monotonic.
        """
        if self._newest is not None and self._newest.version == version:
            return False
        now = time.monotonic()
        if now - max(self._heard_at, published_at) > _SILENT_S:
            cause = f"not heard of for {_SILENT_S:g} s"
        elif now - published_at > _LATE_S:
            cause = f"has not fetched them in {_LATE_S:g} s"
        else:
            return True
        logging.warning("the evaluator may miss the parameters that a task ends with: %s", cause)
        return False
