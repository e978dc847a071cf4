"""What the learner publishes: the parameters, where the run stands, and how far actors may play."""

import itertools
import secrets

from cluster import context
from cluster.accounts import actor_accounts, learner_counts
from cluster.learning import saving, trained_agent
from cluster.messages import messages, publisher
from replay.reverb.sampling import priorities

# Growth of the limit by more than 1 / this of the credit is announced at once.
_URGENT_SHARE = 4
_VERSION_BITS = 62  # of the first: an int64 has room for all that follow


class Announcements:
    """Assembles what the publisher sends to actors and evaluator.

    Attributes:
      version: of the parameters published last; -1 before the first.
    """

    def __init__(
        self,
        role: context.Role,
        agent: trained_agent.TrainedAgent,
        counts: learner_counts.LearnerCounts,
        accounts: actor_accounts.ActorAccounts,
        weights: priorities.SamplingWeights,
        saver: saving.Saver,
    ):
        """Starts the publisher's thread.

        Args:
          role: the learner's.
          agent: its parameters are published.
          counts: of the run.
          accounts: of the actors.
          weights: give the weight of new transitions.
          saver: knows what checkpoints have.
        """
        self._agent = agent
        self._counts = counts
        self._accounts = accounts
        self._weights = weights
        self._saver = saver
        self._urgent_frames = role.distributed.credit_frames // _URGENT_SHARE
        self._allowed = 0
        # At random: a learner that was restarted must not give a version again.
        self._versions = itertools.count(secrets.randbits(_VERSION_BITS))
        self.version = -1
        self._publisher = publisher.Publisher(role.connect)

    def publish_parameters(self) -> None:
        """Hands the parameters to the publisher."""
        counters = self._counts.counters
        self.version = next(self._versions)
        self._publisher.set_parameters(
            messages.Parameters(
                version=self.version,
                frames=counters["frames"],
                updates=counters["updates"],
                task=counters["task"],
                # Copied, as the next update reuses the agent's memory; the publisher waits for it.
                params=self._agent.copy_params(),
            )
        )

    def publish(self, may_play: bool, is_starved: bool, finished: bool = False) -> None:
        """Publishes the announcement, at once if actors may play much more than they know.

        Args:
          may_play: whether anything may be played.
          is_starved: whether the replay has too few transitions to draw from.
          finished: whether nothing more is to be played.
        """
        counters, limits, allowed = self._counts.counters, {}, 0
        if may_play:
            allowed = self._counts.allowed_frames(is_starved)
            alive = self._accounts.alive()
            limits = learner_counts.frame_limits(alive, self._counts.played, allowed)
        is_urgent = allowed - self._allowed > self._urgent_frames
        if is_urgent:
            self._allowed = allowed
        announcement = messages.Announcement(
            frames=counters["frames"],
            updates=counters["updates"],
            task=self._counts.task_to_play,
            finished=finished,
            version=0,
            weight=self._weights.of_new(),
            confirmed=self._saver.confirmed,
            episodes=dict(self._accounts.episodes),
            limits=limits,
        )
        self._publisher.set_announcement(announcement, is_urgent)

    def wait_until_told(self, timeout_s: float) -> bool:
        """Waits for the server to have all that was published; returns whether it has."""
        return self._publisher.wait_until_told(timeout_s)

    def close(self) -> None:
        """Publishes the last announcement once more, if connected, and ends the thread."""
        self._publisher.close()
