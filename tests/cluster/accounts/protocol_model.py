"""The protocol of actors, replay server and learner as a small machine, to be searched as a whole.

Each actor plays steps of one frame; of every two steps comes one transition (as of frames in
chunks), or of each. What each process knows, what its disk has and what the server holds is a
State; `moves` are all that can happen next, one at a time and in any order. What the roles decide
by (updates due, credit, what is sent again) is their own code; `Rules` switches parts of the
protocol off, for mutants.

Where the order of two things makes no difference they are one move: a learner that is connected
has published what it knows; a report that is lost is one that has not been made. Left out: an
actor that is cut off for longer than it is waited for, and comes back.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from cluster.accounts import learner_counts
from cluster.messages import messages
from replay.reverb import checkpoint_mark
from training.learning import task_switching, update_schedule


@dataclasses.dataclass(frozen=True)
class Rules:
    """What the protocol consists of; see the roles for each."""

    has_limiter: bool = False
    journals_counters: bool = True
    feeds_the_starved: bool = True
    rounds_up: bool = True
    begins_with_its_task: bool = True
    leaves_without_credit: bool = True
    leaves_out_what_is_old: bool = True
    leaves_out_cleared_tasks: bool = True
    reads_the_mark_again: bool = True
    waits_before_clearing: bool = True
    saves_before_credit: bool = True
    clears_again: bool = True
    truncates_by_checkpoints: bool = True
    looks_at_incarnations: bool = True
    caps_frames: bool = True


@dataclasses.dataclass(frozen=True)
class Setting:
    """A run: of one task, or of several that have `frames_per_task`; and what may go wrong."""

    num_frames: int = 4
    frames_per_task: int = 0
    clears: bool = False
    num_actors: int = 1
    credit: int = 2
    steps_per_item: int = 2
    capacity: int = 2
    min_size: int = 1
    kills: tuple[str, ...] = ()  # who dies, once each, at any moments, or not at all
    max_snapshots: int = 0
    max_checkpoints: int = 0
    rules: Rules = Rules()


class Record(NamedTuple):
    """Of a journal: counters, and whether it brings a transition."""

    frames: int = 0
    transitions: int = 0
    task: int = 0
    has_item: bool = False


class Announcement(NamedTuple):
    task: int
    limits: tuple[int, ...]
    confirmed: tuple[int, ...]
    is_finished: bool


class Actor(NamedTuple):
    # On its disk.
    journal: tuple[Record, ...] = ()
    truncated: int = 0
    confirmed: int = 0
    incarnation: int = 0
    # In its process.
    frames: int = 0
    has_half: bool = False
    task: int = -1  # of the environment; -1 before the first announcement
    is_silent: bool = False  # of the mutant that tells its task after the first step only
    is_absent: bool = False  # its journal is sent by actor 0, which plays alone
    announcement: Announcement | None = None
    stream: int = 0  # incarnation of the server at its end
    first_task: int = 0  # of the server's mark
    marked: int = 0  # records that were there when the mark was read

    @property
    def newest(self) -> Record:
        return self.journal[-1] if self.journal else Record()


class Report(NamedTuple):
    frames: int
    task: int
    confirmed: int
    incarnation: int


class Content(NamedTuple):
    """What a server has in memory, and in a checkpoint; an item is (actor, record, task)."""

    table: tuple[tuple[int, int, int], ...]
    mark: tuple[int, bool, tuple[int, ...]]
    announcement: Announcement | None = None
    inserts: int = 0
    samples: int = 0


class Server(NamedTuple):
    incarnation: int
    content: Content
    checkpoint: Content | None = None


class Counts(NamedTuple):
    """The learner's, on its disk or in its process."""

    counters: tuple[int, ...]
    frames: tuple[int, ...]  # by actor, as reported
    was_cleared: bool = False  # of the mutant that trusts its own memory


class Learner(NamedTuple):
    counts: Counts
    snapshot: Counts
    stream: int = 0
    mark: tuple[int, bool] = (0, True)
    is_to_be_cleared: bool = True
    reports: tuple[Report | None, ...] = ()
    confirmed: tuple[int, ...] = ()
    # A checkpoint that is written, without the learner's having heard of it: incarnation, mark.
    saving: tuple[int, tuple[int, bool, tuple[int, ...]]] | None = None


class State(NamedTuple):
    actors: tuple[Actor, ...]
    server: Server
    learner: Learner
    kills: tuple[str, ...]
    snapshots: int
    checkpoints: int
    # Nobody's knowledge: for which task the replay was cleared first, and the records there were.
    cleared: tuple[int, tuple[int, ...]] = (0, (0,))


class BrokenRuleError(AssertionError):
    """Something that must never be so."""


class Machine:
    """All that can happen in a run of a setting."""

    def __init__(self, setting: Setting):
        self.setting, self.rules = setting, setting.rules
        self.schedule = update_schedule.UpdateSchedule(
            1, setting.num_frames, setting.frames_per_task, 1
        )
        self.switch = task_switching.SwitchSettings(clear_replay=setting.clears)
        self.zeros = (0,) * setting.num_actors
        self.empty = Content((), (0, True, self.zeros))

    def first(self) -> State:
        counts = Counts(tuple(self._run_counts(None).counters.values()), self.zeros)
        actors = tuple(Actor() for _ in range(self.setting.num_actors))
        limits = self.setting.kills, self.setting.max_snapshots, self.setting.max_checkpoints
        return State(actors, Server(1, self.empty), self._started(counts), *limits)

    def _started(self, counts: Counts) -> Learner:
        reports = (None,) * self.setting.num_actors
        return Learner(counts, counts, reports=reports, confirmed=self.zeros)

    def _run_counts(self, counts: Counts | None) -> learner_counts.LearnerCounts:
        found = learner_counts.LearnerCounts(self.schedule, 1, self.setting.credit)
        if counts is not None:
            found.counters = dict(zip(learner_counts.LearnerCounts.NAMES, counts.counters))
            found.counters["played_frames"] = sum(counts.frames)
        return found

    def is_finished(self, state: State) -> bool:
        return self._run_counts(state.learner.counts).is_finished

    def counters(self, state: State) -> dict[str, int]:
        return dict(zip(learner_counts.LearnerCounts.NAMES, state.learner.counts.counters))

    def moves(self, state: State) -> Iterator[tuple[str, State]]:
        """What may happen next, failures left out."""
        for i in range(self.setting.num_actors):
            for name, actor, content in self._actor_moves(i, state):
                server = state.server._replace(content=content)
                changed = _replace_item(state.actors, i, actor)
                yield f"actor {i} {name}", state._replace(actors=changed, server=server)
        for name, after in self._learner_moves(state):
            yield f"the learner {name}", self._published(after)

    def failures(self, state: State) -> Iterator[tuple[str, State]]:
        """What may go wrong next."""
        for kind in state.kills:
            left = state._replace(kills=tuple(other for other in state.kills if other != kind))
            yield from self._kill(kind, left)

    def _kill(self, kind: str, state: State) -> Iterator[tuple[str, State]]:
        if kind == "actor":
            for i in range(self.setting.num_actors):
                yield from self._actor_is_killed(i, state)
        elif kind == "learner":
            learner = self._started(state.learner.snapshot)
            yield "the learner is killed", state._replace(learner=learner)
        elif kind == "server":
            content = state.server.checkpoint or self.empty
            server = Server(state.server.incarnation + 1, content, state.server.checkpoint)
            yield "the server is killed", state._replace(server=server)
        else:
            assert kind == "all, and the others go on"
            actors = [Actor(*actor[:4], frames=actor.newest.frames) for actor in state.actors]
            rest = [actor._replace(is_absent=True, task=0) for actor in actors[1:]]
            learner = self._started(state.learner.snapshot)
            yield "all are killed", state._replace(actors=(actors[0], *rest), learner=learner)

    def _actor_is_killed(self, i: int, state: State) -> Iterator[tuple[str, State]]:
        actor = state.actors[i]
        kept = Actor(*actor[:4], frames=actor.newest.frames, is_absent=actor.is_absent)
        after = state._replace(actors=_replace_item(state.actors, i, kept))
        yield f"actor {i} is killed", after
        if actor.stream == state.server.incarnation and actor.confirmed < len(actor.journal):
            for _, _, content in self._sends(i, actor, state.server.content):
                server = state.server._replace(content=content)
                yield f"actor {i} is killed amid a send", after._replace(server=server)

    # Actors.

    def _actor_moves(self, i: int, state: State) -> Iterator[tuple[str, Actor, Content]]:
        actor, content = state.actors[i], state.server.content
        if actor.stream != state.server.incarnation:
            incarnation = state.server.incarnation
            yield "connects", self._connected(i, actor, content, incarnation), content
            return
        if actor.announcement != content.announcement and content.announcement is not None:
            yield "hears", self._informed(actor, content.announcement), content
        announcement = actor.announcement
        if announcement is not None:
            yield from self._truncates(actor, announcement.confirmed[i], content)
        if actor.confirmed < len(actor.journal):
            yield from self._sends(i, actor, content)
        elif announcement is not None and not announcement.is_finished and not actor.is_absent:
            yield from self._plays(i, actor, announcement, content)

    def _connected(self, i: int, actor: Actor, content: Content, incarnation: int) -> Actor:
        first_task, _, confirmed = content.mark
        if actor.incarnation == incarnation:
            if actor.stream or not self.rules.reads_the_mark_again:
                return actor._replace(stream=incarnation)
            # Another process, which does not know what the one before has left out.
            marked = len(actor.journal)
            return actor._replace(stream=incarnation, first_task=first_task, marked=marked)
        return actor._replace(
            stream=incarnation,
            incarnation=incarnation,
            confirmed=max(actor.truncated, min(confirmed[i], len(actor.journal))),
            first_task=first_task,
            marked=len(actor.journal),
        )

    def _informed(self, actor: Actor, announcement: Announcement) -> Actor:
        if actor.task >= 0:
            return actor._replace(announcement=announcement)
        is_silent = not self.rules.begins_with_its_task
        return actor._replace(
            announcement=announcement, task=announcement.task, is_silent=is_silent
        )

    def _truncates(
        self, actor: Actor, saved: int, content: Content
    ) -> Iterator[tuple[str, Actor, Content]]:
        through = actor.confirmed
        if self.rules.truncates_by_checkpoints:
            through = min(saved, through)
        if through > actor.truncated:
            yield "truncates", actor._replace(truncated=through), content

    def _sends(
        self, i: int, actor: Actor, content: Content
    ) -> Iterator[tuple[str, Actor, Content]]:
        """The next record is sent and confirmed."""
        seq = actor.confirmed + 1
        record = actor.journal[seq - 1]
        later = actor._replace(confirmed=seq)
        item = (i, seq, record.task)
        if not record.has_item or not self._is_needed(actor, seq, record):
            yield "leaves out a record", later, content
        elif item in content.table:
            yield "sends again", later, content
        elif not (self.rules.has_limiter and self._is_full(content)):
            is_old = actor.newest.transitions - record.transitions >= self.setting.capacity
            if is_old and not self.rules.has_limiter:
                raise BrokenRuleError(f"record {seq} is older than what the table would hold")
            table = (*content.table, item)[-self.setting.capacity :]
            yield "sends", later, content._replace(table=table, inserts=content.inserts + 1)

    def _is_needed(self, actor: Actor, seq: int, record: Record) -> bool:
        if seq > actor.marked:
            return True
        newest = {"transitions": actor.newest.transitions}
        counters = {"task": record.task, "transitions": record.transitions}
        if not self.rules.leaves_out_what_is_old:
            newest = counters
        if not self.rules.leaves_out_cleared_tasks:
            counters = {**counters, "task": self.setting.num_frames}
        mark = checkpoint_mark.Mark(actor.first_task)
        return checkpoint_mark.is_needed(counters, newest, mark, self.setting.capacity)

    def _is_full(self, content: Content) -> bool:
        """As a limiter has it: two samples an insert, and three by which inserts may be ahead."""
        is_filled = len(content.table) >= self.setting.min_size
        return is_filled and 2 * (content.inserts + 1) - content.samples > 3

    def _plays(
        self, i: int, actor: Actor, announcement: Announcement, content: Content
    ) -> Iterator[tuple[str, Actor, Content]]:
        is_allowed = actor.frames < announcement.limits[i]
        if announcement.task > actor.task and (is_allowed or self.rules.leaves_without_credit):
            yield "leaves its task", self._stepped(actor, announcement.task), content
        elif is_allowed:
            yield "plays", self._stepped(actor, actor.task), content
        elif self.rules.journals_counters and actor.newest.frames != actor.frames:
            record = actor.newest._replace(frames=actor.frames, task=actor.task, has_item=False)
            yield "journals its counters", actor._replace(journal=(*actor.journal, record)), content

    def _stepped(self, actor: Actor, task: int) -> Actor:
        """After a step; a transition comes of two (or one), and of the last one of a task."""
        actor = actor._replace(frames=actor.frames + 1, is_silent=False)
        has_item = actor.has_half or self.setting.steps_per_item == 1
        if not has_item and task == actor.task:
            return actor._replace(has_half=True)
        transitions = actor.newest.transitions + has_item
        record = Record(actor.frames, transitions, actor.task, has_item)
        return actor._replace(journal=(*actor.journal, record), has_half=False, task=task)

    # The learner.

    def _learner_moves(self, state: State) -> Iterator[tuple[str, State]]:
        learner, server = state.learner, state.server
        if learner.stream != server.incarnation:
            content, mark = server.content, server.content.mark[:2]
            if self.rules.has_limiter:  # what the updates have drawn is drawn again
                samples = max(content.samples, self.counters(state)["updates"])
                content = content._replace(samples=samples)
            changes = {"stream": server.incarnation, "mark": mark, "is_to_be_cleared": True}
            yield "connects", self._with(state, content, **changes)
            return
        for i, actor in enumerate(state.actors):
            if actor.stream == server.incarnation:
                yield from self._takes_report(state, i, actor)
        yield from self._saves(state)
        counts = self._run_counts(learner.counts)
        if learner.is_to_be_cleared:
            yield from self._clears(state)
        elif counts.updates_behind:
            if len(server.content.table) >= self.setting.min_size:
                counts.count_updates()
                drawn = server.content._replace(
                    samples=server.content.samples + self.rules.has_limiter
                )
                done = self._counted(counts, learner.counts.frames)
                yield "does an update", self._with(state, drawn, counts=done)
        elif counts.is_task_over and not counts.is_finished:
            yield from self._leaves(state, counts)

    def _with(self, state: State, content: Content | None = None, **changes) -> State:
        server = state.server if content is None else state.server._replace(content=content)
        return state._replace(learner=state.learner._replace(**changes), server=server)

    def _published(self, state: State) -> State:
        """With the learner's announcement in the server."""
        learner, content = state.learner, state.server.content
        if learner.stream != state.server.incarnation:
            return state
        counts = self._run_counts(learner.counts)
        limits = {}
        if not learner.is_to_be_cleared:
            is_short = len(content.table) < self.setting.min_size and self.rules.feeds_the_starved
            allowed = counts.allowed_frames(is_short and bool(counts.updates_behind))
            limits = self._limits(state, counts.played, allowed)
        by_actor = tuple(limits.get(i, 0) for i in range(self.setting.num_actors))
        task = counts.task_to_play
        announcement = Announcement(task, by_actor, learner.confirmed, counts.is_finished)
        server = state.server._replace(content=content._replace(announcement=announcement))
        return state._replace(server=server)

    def _limits(self, state: State, played: int, allowed: int) -> dict[int, int]:
        reports = enumerate(state.learner.reports)
        known = {i: report for i, report in reports if report is not None}
        alive = [
            messages.Report(i, 0 if state.actors[i].is_absent else i, r.frames, *(0,) * 5, [])
            for i, r in known.items()
        ]
        if self.rules.rounds_up:
            return dict(learner_counts.frame_limits(alive, played, allowed))
        share = max(0, allowed - played) // max(1, len(alive))
        return {i: report.frames + share for i, report in known.items()}

    def _counted(self, counts: learner_counts.LearnerCounts, frames: tuple[int, ...]) -> Counts:
        counters = counts.counters
        if not self.rules.caps_frames and not counts.updates_behind:
            counters["frames"] = max(counters["frames"], sum(frames))
        if not 0 <= counters["frames"] <= min(sum(frames), self.setting.num_frames):
            raise BrokenRuleError(f"{counters['frames']} frames are told of {sum(frames)}")
        return Counts(tuple(counters.values()), frames)

    def _takes_report(self, state: State, i: int, actor: Actor) -> Iterator[tuple[str, State]]:
        learner = state.learner
        old = learner.reports[i]
        # The task is told when all of earlier ones is confirmed by this server.
        task = old.task if old is not None and old.incarnation == actor.incarnation else -1
        if actor.confirmed == len(actor.journal) and not actor.is_silent:
            task = state.actors[0].task if actor.is_absent else actor.task
        report = Report(actor.newest.frames, task, actor.confirmed, actor.incarnation)
        if report == old:
            return
        played = max(learner.counts.frames[i], report.frames)
        frames = _replace_item(learner.counts.frames, i, played)
        counts = self._run_counts(learner.counts)
        counts.report(sum(frames))
        counted = self._counted(counts, frames)
        reports = _replace_item(learner.reports, i, report)
        yield f"hears of actor {i}", self._with(state, counts=counted, reports=reports)

    def _clears(self, state: State) -> Iterator[tuple[str, State]]:
        learner, content = state.learner, state.server.content
        first_task = self.counters(state)["first_task"]
        is_done = learner.counts.was_cleared and not self.rules.clears_again
        if learner.saving is not None:
            return
        if learner.mark[0] < first_task and not is_done:
            if self.rules.waits_before_clearing and not self._have_left(learner, first_task - 1):
                return
            mark = (first_task, False, self.zeros)
            counts = learner.counts._replace(was_cleared=not self.rules.clears_again)
            if state.cleared[0] < first_task:
                records = tuple(len(actor.journal) for actor in state.actors)
                state = state._replace(cleared=(first_task, records))
            cleared = content._replace(table=(), mark=mark)
            yield "clears the replay", self._with(state, cleared, mark=mark[:2], counts=counts)
        elif learner.mark[1] or not self.rules.saves_before_credit:
            yield "gives credit", self._with(state, is_to_be_cleared=False)
        else:
            yield self._writes_checkpoint(state)

    def _leaves(
        self, state: State, counts: learner_counts.LearnerCounts
    ) -> Iterator[tuple[str, State]]:
        learner = state.learner
        if not self._have_left(learner, counts.counters["task"]):
            return
        counts.begin_task(self.switch)
        begun = self._counted(counts, learner.counts.frames)
        after = self._with(state, counts=begun)
        if self.setting.clears:
            after = self._with(after, snapshot=begun, is_to_be_cleared=True)
        yield "begins a task", after

    def _have_left(self, learner: Learner, task: int) -> bool:
        return all(
            report is not None and report.task > task and report.incarnation == learner.stream
            for report in learner.reports
        )

    def _saves(self, state: State) -> Iterator[tuple[str, State]]:
        learner, server = state.learner, state.server
        if learner.snapshot != learner.counts and state.snapshots:
            saved = self._with(state, snapshot=learner.counts)
            yield "saves a snapshot", saved._replace(snapshots=state.snapshots - 1)
        if learner.saving is None:
            if state.checkpoints and not learner.is_to_be_cleared:
                name, begun = self._writes_checkpoint(state)
                yield name, begun._replace(checkpoints=state.checkpoints - 1)
            return
        incarnation, mark = learner.saving
        if incarnation != server.incarnation:
            yield "drops a checkpoint of another server", self._with(state, saving=None)
        else:
            saved = (mark[0], True, mark[2])
            content = server.content._replace(mark=saved)
            changes = {"saving": None, "confirmed": mark[2], "mark": saved[:2]}
            yield "notes a checkpoint", self._with(state, content, **changes)

    def _writes_checkpoint(self, state: State) -> tuple[str, State]:
        """It may have more than the mark says: what was confirmed and is not reported yet."""
        learner, marked = state.learner, state.server.content.mark[2]
        reported = (self._confirmed(report, learner.stream) for report in learner.reports)
        confirmed = tuple(map(max, marked, reported))
        mark = (*learner.mark, confirmed)
        content = state.server.content._replace(mark=mark)
        server = state.server._replace(content=content, checkpoint=content)
        after = state._replace(server=server)
        return "has a checkpoint written", self._with(after, saving=(learner.stream, mark))

    def _confirmed(self, report: Report | None, incarnation: int) -> int:
        if report is None:
            return 0
        is_same = report.incarnation == incarnation
        return report.confirmed if is_same or not self.rules.looks_at_incarnations else 0


def _replace_item(items: tuple, i: int, item) -> tuple:
    return (*items[:i], item, *items[i + 1 :])
