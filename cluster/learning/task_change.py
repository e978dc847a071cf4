"""How a run goes from one task to the next: what is waited for, and what is done when."""

import enum
import time
from collections.abc import Callable
from typing import NamedTuple

from cluster.accounts import evaluator_account
from replay.reverb import checkpoint_mark


class Phase(enum.Enum):
    """Where a run stands.

    PLAYING: a task is played and learned from.
    LEAVING: it is over; the actors go to the next one, and the evaluator fetches the parameters
      that this one ends with.
    CLEARING: the replay may have transitions that must not be learned from, for instance if its
      server was killed before a checkpoint had it empty; nothing is played.
    """

    PLAYING = enum.auto()
    LEAVING = enum.auto()
    CLEARING = enum.auto()


class ChangeStep(enum.Enum):
    """What the learner has to do now.

    GO_ON: learn, as there is no task change to make.
    WAIT: nothing, for a moment.
    PUBLISH: publish the parameters that the task ends with.
    BEGIN: begin the next task.
    CLEAR: empty the replay, and have it saved.
    SAVE: have the empty replay saved.
    """

    GO_ON = enum.auto()
    WAIT = enum.auto()
    PUBLISH = enum.auto()
    BEGIN = enum.auto()
    CLEAR = enum.auto()
    SAVE = enum.auto()


class Facts(NamedTuple):
    """What the next step depends on.

    Attributes:
      task: the one learned from, from 0.
      first_task: the oldest task whose transitions the replay may have.
      version: of the parameters that were published last.
      is_over: whether the task is over, but not the run.
      mark: what the replay server says it has.
      is_checkpointing: whether it is writing a checkpoint.
    """

    task: int
    first_task: int
    version: int
    is_over: bool
    mark: checkpoint_mark.Mark
    is_checkpointing: bool


class TaskChange:
    """The phases of a run; it decides, and does nothing itself."""

    def __init__(
        self,
        have_left: Callable[[int], bool],
        evaluator: evaluator_account.EvaluatorAccount | None,
        clears_replay: bool,
    ):
        """The replay's state is unknown at first.

        Args:
          have_left: whether all live actors play a later task than the given one, with all they
            played before confirmed.
          evaluator: the one to wait for; None: there is none.
          clears_replay: whether the replay is emptied for every task.
        """
        self._have_left = have_left
        self._evaluator = evaluator
        self._clears_replay = clears_replay
        self._is_clearing = True
        # Since when the task is being left, by time.monotonic.
        self._leaving_since: float | None = None

    @property
    def phase(self) -> Phase:
        """Where the run stands."""
        if self._is_clearing:
            return Phase.CLEARING
        return Phase.PLAYING if self._leaving_since is None else Phase.LEAVING

    def reset_replay(self) -> None:
        """Has the replay checked again: its server may be another one, or a restored one."""
        self._is_clearing = True

    def next_step(self, facts: Facts) -> ChangeStep:
        """What to do now; the next call takes it as done."""
        if self._is_clearing:
            step = self._clear(facts)
            if step is not ChangeStep.GO_ON:
                return step
            self._is_clearing = False
        if not facts.is_over:
            return ChangeStep.GO_ON
        if self._leaving_since is None:
            self._leaving_since = time.monotonic()
            return ChangeStep.PUBLISH
        # Nothing but what PUBLISH has published is published while a task is left.
        if not self._have_left(facts.task) or self._is_evaluator_waited_for(
            facts.version, self._leaving_since
        ):
            return ChangeStep.WAIT
        self._leaving_since = None
        self._is_clearing = self._clears_replay
        return ChangeStep.BEGIN

    def _clear(self, facts: Facts) -> ChangeStep:
        """What remains to do before the new task may be played.

        It is not played until a checkpoint has the empty table, so a table that has to be emptied
        again has nothing of it.
        """
        is_old = facts.mark.first_task < facts.first_task
        if not is_old and facts.mark.is_saved:
            return ChangeStep.GO_ON
        # The mark of a checkpoint under way must not come after the new one; and what an actor
        # still sends of earlier tasks would enter the empty table.
        if facts.is_checkpointing or (is_old and not self._have_left(facts.first_task - 1)):
            return ChangeStep.WAIT
        return ChangeStep.CLEAR if is_old else ChangeStep.SAVE

    def _is_evaluator_waited_for(self, version: int, published_at: float) -> bool:
        if self._evaluator is None:
            return False
        return self._evaluator.is_waited_for(version, published_at)
