"""How long each stage of the training loop takes."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

import jax


class StageTimer:
    """Mean milliseconds per iteration of each stage, measured once in `every` iterations.

    The device works while the host goes on, so a stage's time means something only if the host
    waits for it; always waiting would remove the overlap that it measures.
    """

    def __init__(self, every: int = 16):
        self._every = every
        self._iteration = 0
        self._seconds: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)

    @property
    def is_measuring(self) -> bool:
        """Whether this iteration is measured."""
        return self._iteration % self._every == 0

    def next_iteration(self) -> None:
        """To be called once per iteration."""
        self._iteration += 1

    @contextlib.contextmanager
    def stage(self, name: str, always: bool = False) -> Iterator[None]:
        """Times a block, if this iteration is measured or `always`."""
        if not (always or self.is_measuring):
            yield
            return
        start = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - start
        self._counts[name] += 1

    def wait_for(self, arrays: object) -> None:
        """Waits for the device in a measured iteration."""
        if self.is_measuring:
            jax.block_until_ready(arrays)

    def take(self, names: tuple[str, ...]) -> dict[str, float]:
        """`<name>_ms` for each stage since the last call; 0 where none was measured."""
        means = {
            f"{name}_ms": 1e3 * self._seconds[name] / max(1, self._counts[name]) for name in names
        }
        self._seconds.clear()
        self._counts.clear()
        return means
