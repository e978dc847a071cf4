"""Not a replay: each update is on the newest transitions, one of each environment.

For streams of labelled data (envs/labelled_images.py): with one update for each step every example
is used once, but for the few steps with none or two of them, where a replay was cleared, and for
the last ones of an episode, which are used twice: the step that begins the next has no transition,
but an update. What else is kept is for measurements, which draw from all of it alike.
"""

import dataclasses

import jax
import jax.numpy as jnp

from core import checks, settings
from replay import base
from replay.device import frame_ring, size, uniform


@dataclasses.dataclass(frozen=True)
class Settings(size.SizeSettings):
    """The section `replay`."""

    module: str = settings.key("newest", checks.one_of("newest"), "this replay")

    def __post_init__(self):
        """Raises ConfigError if a batch would ever be more than there is."""
        self.check_size()
        if self.batch_size > self.min_size:
            raise checks.ConfigError(
                f"replay.batch_size = {self.batch_size}: expected at most replay.min_size = "
                f"{self.min_size}, of which it is the newest part"
            )


class NewestReplay(uniform.UniformReplay):
    """The replay contract (replay.base.Replay), whose samples are no random draws."""

    def sample(self, state: uniform.UniformState, rng: jax.Array, batch_size: int) -> base.Sample:
        """The newest transitions, the oldest of them first; rng is not used."""
        del rng
        num_ready = self.size(state)
        return self.at(state, num_ready - batch_size + jnp.arange(batch_size))


def make(chosen: Settings, spec: base.TransitionSpec, num_seeds: int = 1) -> NewestReplay:
    """Builds the replay that the section describes, for each of `num_seeds`.

    Raises:
      ConfigError: if the capacity does not fit the spec, or a batch is not one step's.
    """
    if chosen.batch_size != spec.num_envs:
        raise checks.ConfigError(
            f"replay.batch_size = {chosen.batch_size}: expected num_envs = {spec.num_envs} with "
            "replay.module = 'newest', one transition of each"
        )
    return NewestReplay(frame_ring.make(chosen.capacity, spec, num_seeds))
