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
    LEAVING: it is over; the actors are to go to the next one, and the evaluator is to fetch what
      this one has made.
    CLEARING: the replay may have transitions that are not to be learned from, be it that its server
      was killed before a checkpoint had it empty; nothing is played.
    """

    PLAYING = enum.auto()
    LEAVING = enum.auto()
    CLEARING = enum.auto()


class ChangeStep(enum.Enum):
    """What the learner has to do now.

    GO_ON: learn, as there is no change of tasks to be made.
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
      task: that is learned from, from 0.
      first_task: whose transitions are the oldest that the replay may have.
      updates: how many were done.
      is_over: whether the task is over, and not the run with it.
      mark: what the replay server says that it has.
      is_checkpointing: whether it writes a checkpoint.
    """

    task: int
    first_task: int
    updates: int
    is_over: bool
    mark: checkpoint_mark.Mark
    is_checkpointing: bool


class _Leaving(NamedTuple):
    """Since when a task is left, by time.monotonic, and after how many updates."""

    since: float
    updates: int


class TaskChange:
    """The phases of a run; it decides, and does nothing itself."""

    def __init__(
        self,
        have_left: Callable[[int], bool],
        evaluator: evaluator_account.EvaluatorAccount | None,
        clears_replay: bool,
    ):
        """The replay is unknown at first.

        Args:
          have_left: whether all actors that are alive play a later task than one, and what they
            played until then is confirmed.
          evaluator: is waited for; None: there is none.
          clears_replay: whether the replay is emptied for every task.
        """
        self._have_left = have_left
        self._evaluator = evaluator
        self._clears_replay = clears_replay
        self._is_clearing = True
        self._leaving: _Leaving | None = None

    @property
    def phase(self) -> Phase:
        """Where the run stands."""
        if self._is_clearing:
            return Phase.CLEARING
        return Phase.PLAYING if self._leaving is None else Phase.LEAVING

    def reset_replay(self) -> None:
        """Has the replay looked at: its server may be another one, or one that was restored."""
        self._is_clearing = True

    def next_step(self, facts: Facts) -> ChangeStep:
        """What to do now; it is taken as done when this is called again."""
        if self._is_clearing:
            step = self._clear(facts)
            if step is not ChangeStep.GO_ON:
                return step
            self._is_clearing = False
        if not facts.is_over:
            return ChangeStep.GO_ON
        if self._leaving is None:
            self._leaving = _Leaving(time.monotonic(), facts.updates)
            return ChangeStep.PUBLISH
        if not self._have_left(facts.task) or self._is_evaluator_waited_for(self._leaving):
            return ChangeStep.WAIT
        self._leaving = None
        self._is_clearing = self._clears_replay
        return ChangeStep.BEGIN

    def _clear(self, facts: Facts) -> ChangeStep:
        """What is missing before the new task may be played.

        Nothing of it is before a checkpoint has the empty table: so whatever may have to be emptied
        again has nothing of it.
        """
        is_old = facts.mark.first_task < facts.first_task
        if not is_old and facts.mark.is_saved:
            return ChangeStep.GO_ON
        # The mark of a checkpoint under way must not come after the new one; and what an actor
        # still sends of before would come into the empty table.
        if facts.is_checkpointing or (is_old and not self._have_left(facts.first_task - 1)):
            return ChangeStep.WAIT
        return ChangeStep.CLEAR if is_old else ChangeStep.SAVE

    def _is_evaluator_waited_for(self, leaving: _Leaving) -> bool:
        if self._evaluator is None:
            return False
        return self._evaluator.is_waited_for(leaving.updates, leaving.since)
