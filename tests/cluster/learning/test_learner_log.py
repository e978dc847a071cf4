"""The learner's rows, without an agent."""

import csv

import numpy as np
import pytest

from cluster import context
from cluster.accounts import actor_accounts, learner_counts
from cluster.learning import learner_log
from cluster.messages import messages
from configs import probe
from training import derived
from training.learning import update_schedule


class Agent:
    newest = None


class Setting:
    """A learner's log, begun at a frame; its updates have a loss of 1."""

    def __init__(self, run_dir, frames=0):
        role = context.Role("learner", derived.resolve(probe.get_config()), run_dir, num_actors=1)
        schedule = update_schedule.UpdateSchedule.make(role.settings)
        self.run_dir = run_dir
        self.counts = learner_counts.LearnerCounts(schedule, role.settings.frames_per_step, 100)
        self.counts.counters["frames"] = frames
        self.accounts = actor_accounts.ActorAccounts()
        self.log = learner_log.LearnerLog(role, Agent(), self.counts, self.accounts, ["loss"])

    def update(self, frames):
        self.counts.counters["frames"] = frames
        self.log.recorder.learned(self.counts.counters, {"loss": np.ones(1)})

    def report(self, *returns, first=0):
        """Episodes with these returns, numbered from `first`."""
        episodes = [messages.EpisodeReport(0, total, 4) for total in returns]
        self.log.apply(messages.Report(7, 0, 40, 10, 0, 0, 5, first, episodes))

    def rows(self, name="train"):
        with (self.run_dir / f"{name}.csv").open(newline="") as stream:
            return list(csv.DictReader(stream))

    def close(self):
        self.log.close()


@pytest.fixture
def start(tmp_path):
    started = []

    def start_one(frames=0):
        for before in started:
            before.close()
        started[:] = [Setting(tmp_path, frames)]
        return started[0]

    yield start_one
    started[0].close()


def test_the_end_of_a_task_has_a_row_of_its_own_only_if_there_is_anything_for_it(start):
    setting = start()
    setting.update(frames=100)
    setting.log.write_rest()
    setting.log.write_rest()
    assert len(setting.rows()) == 1
    setting.report(3.0)
    setting.log.write_rest()
    assert [row["episodes"] for row in setting.rows()] == ["0", "1"]


def test_rows_that_are_written_again_have_the_episodes_that_were_recorded_before(start):
    """The snapshot is of frame 100; episodes were recorded before and after that."""
    setting = start()
    for number, frames in enumerate((50, 150, 180, 250)):
        setting.update(frames)
        setting.report(float(number), first=number)
    again = start(frames=100)
    again.update(frames=120)
    again.log.write_due()
    assert again.counts.counters["episodes"] == 0
    again.update(frames=200)
    again.report(*range(4), first=0)  # the actor reports them all again
    again.log.write_rest()
    again.update(frames=300)
    again.report(9.0, first=4)
    again.log.write_rest()
    assert [(row["episodes"], row["mean_return"]) for row in again.rows()[-2:]] == [
        ("2", "1.5"),
        ("2", "6.0"),
    ]
    assert again.counts.counters["episodes"] == 4
    assert list(again.log.recent) == [1.0, 2.0, 9.0, 3.0]
    assert len(again.rows("episodes")) == 5


def test_without_a_snapshot_all_episodes_come_again(start):
    setting = start()
    setting.report(1.0)
    setting.report(2.0, first=1)
    again = start()
    again.log.write_rest()
    assert again.counts.counters["episodes"] == 2
