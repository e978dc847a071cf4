"""The kernels that a GPU ran, read off a trace."""

import collections
from collections.abc import Mapping
from typing import Any, NamedTuple

_LONGEST = 12


class Kernels(NamedTuple):
    """What ran on the device during an update, by a trace.

    Attributes:
      number: of kernels and copies.
      microseconds: their durations' sum.
      longest: by name, microseconds of those that took longest.
    """

    number: float
    microseconds: float
    longest: Mapping[str, float]


def read(profile: Any, num_updates: int) -> Kernels:
    """The kernels of a trace (jax.profiler.ProfileData) that covers some updates."""
    total: collections.Counter[str] = collections.Counter()
    number = 0
    for plane in profile.planes:
        if not plane.name.startswith("/device:GPU"):
            continue
        # Other lines group the same kernels by operation or module.
        for line in plane.lines:
            if not line.name.startswith("Stream"):
                continue
            for event in line.events:
                number += 1
                total[event.name] += event.duration_ns / 1e3 / num_updates
    return Kernels(number / num_updates, sum(total.values()), dict(total.most_common(_LONGEST)))
