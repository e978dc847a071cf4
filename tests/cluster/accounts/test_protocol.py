"""All states of the roles' protocol within bounds: each can finish, and the accounts are exact."""

import collections
import dataclasses
import gc

import pytest

from tests.cluster.accounts.protocol_model import BrokenRuleError, Machine, Rules, Setting, State

_MAX_STATES = 400_000


@pytest.fixture(autouse=True)
def _no_collections():
    """Hundreds of thousands of tuples, none in a cycle, are looked through in vain."""
    gc.disable()
    yield
    gc.enable()


class HangsError(AssertionError):
    """A state from which the run can't finish, whatever happens next."""


def search(setting: Setting) -> int:
    """Visits every state that can be reached; how many there are.

    Raises:
      HangsError, BrokenRuleError: with the shortest way there.
    """
    machine = Machine(setting)
    first = machine.first()
    came_from: dict[State, tuple[State, str] | None] = {first: None}
    before: dict[State, list[State]] = collections.defaultdict(list)
    finished, waiting = [], collections.deque([first])
    while waiting:
        state = waiting.popleft()
        try:
            check(machine, state)
            following = [(name, after, True) for name, after in machine.moves(state)]
        except BrokenRuleError as error:
            raise BrokenRuleError(f"{error}\n{tell(came_from, state)}") from error
        following += [(name, after, False) for name, after in machine.failures(state)]
        if machine.is_finished(state):
            finished.append(state)
        elif not following:
            raise HangsError(tell(came_from, state))
        for name, after, is_move in following:
            if is_move:
                before[after].append(state)
            if after not in came_from:
                came_from[after] = state, name
                waiting.append(after)
        assert len(came_from) <= _MAX_STATES
    can_finish = set(finished)
    waiting.extend(finished)
    while waiting:
        for state in before[waiting.popleft()]:
            if state not in can_finish:
                can_finish.add(state)
                waiting.append(state)
    hung = next((state for state in came_from if state not in can_finish), None)
    if hung is not None:
        raise HangsError(tell(came_from, hung))
    return len(came_from)


def tell(came_from, state):
    lines = [str(state)]
    while came_from[state] is not None:
        state, name = came_from[state]
        lines.append(name)
    return "\n".join(reversed(lines))


def check(machine, state):
    """What has to be so in every state."""
    setting, counters = machine.setting, machine.counters(state)
    if machine.is_finished(state):
        num_tasks = setting.num_frames // setting.frames_per_task if setting.frames_per_task else 1
        expected = setting.num_frames - (0 if setting.frames_per_task else 1)
        if (counters["updates"], counters["task"]) != (expected, num_tasks - 1):
            raise BrokenRuleError(f"{counters}: expected {expected} updates")
    learner, server = state.learner, state.server
    if learner.stream != server.incarnation or learner.is_to_be_cleared:
        return
    table = server.content.table
    if any(task < counters["first_task"] for *_, task in table):
        raise BrokenRuleError("a transition of a task that was cleared")
    if setting.num_actors == 1:
        check_nothing_is_lost(state, setting.capacity)


def check_nothing_is_lost(state, capacity):
    """A server that was sent everything has the newest that fit, of those since it was cleared."""
    (actor,), server, (_, (num_cleared,)) = state.actors, state.server, state.cleared
    if actor.stream != server.incarnation or actor.confirmed < len(actor.journal):
        return
    journaled = [
        (0, seq, record.task) for seq, record in enumerate(actor.journal, 1) if record.has_item
    ]
    needed = {item for item in journaled if item[1] > num_cleared}
    table = set(server.content.table)
    if not set(sorted(needed)[-capacity:]) <= table <= set(journaled):
        raise BrokenRuleError(f"of {journaled} the table has {server.content.table}")


ALONE = Setting(credit=1)
LEARNER_DIES = Setting(kills=("learner",), max_snapshots=1)
ACTOR_DIES = Setting(num_frames=5, min_size=2, kills=("actor",))
SERVER_DIES = Setting(capacity=1, kills=("server",), max_checkpoints=1)
TWO_DIE = Setting(num_frames=3, kills=("server", "learner"), max_snapshots=1)
TWO_ACTORS = Setting(num_frames=2, num_actors=2, credit=1, steps_per_item=1, kills=("actor",))
ONE_GOES = dataclasses.replace(TWO_ACTORS, kills=("all, and the others go on",))
TASKS = Setting(frames_per_task=2, kills=("actor", "learner"), max_snapshots=1)
CLEARED = Setting(frames_per_task=2, clears=True, credit=1, kills=("server",))
CLEARED_BY_TWO = dataclasses.replace(CLEARED, steps_per_item=1, kills=("server", "learner"))
CLEARED_AND_BEGUN_AGAIN = dataclasses.replace(CLEARED_BY_TWO, kills=("server", "actor"))
SETTINGS = {
    "nobody dies": ALONE,
    "the learner dies": LEARNER_DIES,
    "the actor dies": ACTOR_DIES,
    "the server dies, its table is full": SERVER_DIES,
    "server and learner die": TWO_DIE,
    "one of two actors dies": TWO_ACTORS,
    "one of two actors is alone from then on": ONE_GOES,
    "two tasks": TASKS,
    "two tasks, the replay is cleared, the server dies": CLEARED,
    "two tasks, the replay is cleared, two die": CLEARED_BY_TWO,
    "two tasks, the replay is cleared, server and actor die": CLEARED_AND_BEGUN_AGAIN,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_from_every_state_the_run_can_finish_with_exact_accounts(name):
    assert search(SETTINGS[name]) > 100


MUTANTS = {
    "a limiter, and a full table that is sent what it had dropped": (
        dataclasses.replace(SERVER_DIES, num_frames=5),
        {"has_limiter": True, "leaves_out_what_is_old": False},
        HangsError,
    ),
    "actors that wait keep frames to themselves": (ALONE, {"journals_counters": False}, HangsError),
    "actors wait while the replay has too little": (
        ACTOR_DIES,
        {"feeds_the_starved": False},
        HangsError,
    ),
    "shares of the credit are rounded down": (TWO_ACTORS, {"rounds_up": False}, HangsError),
    "an actor tells its task after the first step": (
        TASKS,
        {"begins_with_its_task": False},
        HangsError,
    ),
    "a task is left with credit alone": (TASKS, {"leaves_without_credit": False}, HangsError),
    "all that is in the journal is sent again": (
        SERVER_DIES,
        {"leaves_out_what_is_old": False},
        BrokenRuleError,
    ),
    "transitions of a cleared task are sent again": (
        CLEARED_BY_TWO,
        {"leaves_out_cleared_tasks": False},
        BrokenRuleError,
    ),
    "a process sends all that the one before had not confirmed": (
        CLEARED_AND_BEGUN_AGAIN,
        {"reads_the_mark_again": False},
        BrokenRuleError,
    ),
    "a task is begun before a checkpoint is empty": (
        CLEARED,
        {"saves_before_credit": False},
        BrokenRuleError,
    ),
    "a restored replay is cleared before all is there": (
        CLEARED,
        {"waits_before_clearing": False},
        BrokenRuleError,
    ),
    "a restored replay is not cleared again": (CLEARED, {"clears_again": False}, BrokenRuleError),
    "journals are truncated by confirmations": (
        SERVER_DIES,
        {"truncates_by_checkpoints": False},
        BrokenRuleError,
    ),
    "confirmations of another server count": (
        SERVER_DIES,
        {"looks_at_incarnations": False},
        BrokenRuleError,
    ),
    "frames beyond the run's are told of": (
        dataclasses.replace(TWO_ACTORS, num_frames=3),
        {"caps_frames": False},
        BrokenRuleError,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_protocol_without_one_of_its_rules_is_found_out(name):
    setting, changes, error = MUTANTS[name]
    with pytest.raises(error):
        search(dataclasses.replace(setting, rules=Rules(**changes)))
