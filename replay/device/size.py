"""The keys that the replays on the device have in common."""

import dataclasses

from core import checks, settings


@dataclasses.dataclass(frozen=True)
class SizeSettings:
    """How much is kept, and how much is drawn; the base of the sections `replay`."""

    capacity: int = settings.key(
        1_000_000,
        checks.integer(1),
        "transitions; of Atari frames a million take 7.1 GB",
        "DQN Zoo",
    )
    min_size: int = settings.key(
        20_000, checks.integer(1), "agent steps before the first update", "DQN Zoo: 2 %"
    )
    batch_size: int = settings.key(32, checks.integer(1), "transitions of an update", "DQN Zoo")

    def check_size(self) -> None:
        """Raises ConfigError if there would never be enough to learn from."""
        if self.min_size > self.capacity:
            raise checks.ConfigError(
                f"replay.min_size = {self.min_size}: expected at most "
                f"replay.capacity = {self.capacity}"
            )
