"""Films an agent while it plays an episode."""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import jax
import numpy as np

from core import checks
from envs import base as envs_base
from training.acting import policy as policy_lib
from training.learning import replay_learner
from training.system import stopping

# Screens are enlarged by a whole number, to this many lines at most.
_MAX_LINES = 640


def record(
    player: policy_lib.Policy,
    output: Path,
    seed: int,
    max_steps: int,
    stop: Callable[[], bool] = lambda: False,
) -> float:
    """Writes an mp4 film of one episode and returns its return as far as shown.

    Args:
      player: who plays.
      output: the film, written whole or not at all; its directory must exist.
      seed: of the environment and of the agent's noise.
      max_steps: agent steps at most.
      stop: whether to give up; asked before every step.

    Raises:
      ConfigError: if the environment has no screen, or the file can't be written.
      stopping.Stopped: `stop` said so.
    """
    if output.suffix != ".mp4" or not output.parent.is_dir() or output.is_dir():
        raise checks.ConfigError(
            f"output = {str(output)!r}: expected a file .mp4 in a directory that exists"
        )
    filmed = envs_base.make_filmed(player.environment, seed)
    try:
        with Film(output, filmed.frames_per_second) as film:
            return _play(player, filmed, film, seed, max_steps, stop)
    finally:
        filmed.environment.close()


def _play(
    player: policy_lib.Policy,
    filmed: envs_base.Filmed,
    film: "Film",
    seed: int,
    max_steps: int,
    stop: Callable[[], bool],
) -> float:
    """Films one episode of one environment; its return."""
    evaluator, frame_stack = player.evaluator(), player.settings.transition.frame_stack
    environment = filmed.environment
    timestep = environment.reset()
    film.add(filmed.screen(None))
    stack = replay_learner.empty_stack(jax.numpy.asarray(timestep.observation), frame_stack)
    rng, total = jax.random.key(seed), 0.0
    for _ in range(max_steps):
        if stop():
            raise stopping.Stopped("asked to end while filming")
        observation, is_first = timestep.observation, np.asarray(timestep.first())
        rng, stack, action = evaluator.act(
            player.params, rng, stack, observation, is_first, np.int32(0)
        )
        timestep = environment.step(np.asarray(action))
        film.add(filmed.screen(np.asarray(action)))
        total += float(timestep.reward[0])
        if np.asarray(timestep.last())[0]:
            break
    return total


class Film:
    """An H.264 film, written beside its final place and moved there when complete."""

    def __init__(self, output: Path, frames_per_second: float):
        """Writes nothing yet."""
        self._output = output
        self._partial = output.with_name(f".{output.name}.part")
        self._frames_per_second = frames_per_second
        self._encoder: Any = None
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> "Film":
        # An unwritable file fails before anything is played.
        with _told_as_one_line(self._output):
            self._partial.write_bytes(b"")
        self._errors = tempfile.TemporaryFile()
        return self

    def add(self, screen: np.ndarray) -> None:
        """Adds an RGB picture uint8 [H, W, 3], all of the same size.

        Raises:
          ConfigError: if the film can't be written.
        """
        if self._encoder is None:
            self._shape = screen.shape
            self._encoder = self._start(*screen.shape[:2])
        if screen.shape != self._shape or screen.dtype != np.uint8:
            raise checks.ConfigError(
                f"output = {str(self._output)!r}: a screen of the environment is "
                f"{screen.dtype}{list(screen.shape)} after uint8{list(self._shape)}: expected "
                "pictures uint8 [H, W, 3] of one size"
            )
        try:
            self._encoder.stdin.write(np.ascontiguousarray(screen).data)
        except OSError as error:
            raise self._failure() from error

    def _start(self, height: int, width: int) -> subprocess.Popen:
        scale = max(1, _MAX_LINES // height)
        # Enlarged without smoothing; H.264 wants an even height and width.
        filters = f"scale=iw*{scale}:ih*{scale}:flags=neighbor,pad=ceil(iw/2)*2:ceil(ih/2)*2"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo"]
        command += ["-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-r", f"{self._frames_per_second:g}", "-i", "-", "-an", "-vf", filters]
        command += ["-vcodec", "libx264", "-pix_fmt", "yuv420p", "-f", "mp4", str(self._partial)]
        # Its own process group, so that Ctrl-C on the terminal reaches this process alone. Without
        # a function to run in the child there is no fork, which is unsafe beside JAX's threads.
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            process_group=0,
        )

    def __exit__(self, kind: Any, *_: object) -> None:
        try:
            self._finish(is_whole=kind is None)
        finally:
            self._errors.close()
            self._partial.unlink(missing_ok=True)

    def _finish(self, is_whole: bool) -> None:
        if self._encoder is None:
            return
        with contextlib.suppress(OSError):  # it has ended: see its exit code
            self._encoder.stdin.close()
        if not is_whole:
            self._encoder.kill()
        exit_code = self._encoder.wait()
        if not is_whole:
            return
        if exit_code:
            raise self._failure()
        with _told_as_one_line(self._output):
            self._partial.replace(self._output)

    def _failure(self) -> checks.ConfigError:
        self._encoder.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")
        return checks.ConfigError(f"output = {str(self._output)!r}: not written: ffmpeg: {said}")


@contextlib.contextmanager
def _told_as_one_line(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise checks.ConfigError(f"output = {str(output)!r}: not written: {error}") from error
