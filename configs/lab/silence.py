"""Half of the units silenced, once, to see whether they come back."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    return task.make("silence", {"module": "silence", "at_frames": 5_000}).lock()
