"""A film file, written picture by picture."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import imageio_ffmpeg
import numpy as np

from core import checks


class _Format(NamedTuple):
    """How a kind of film is made.

    Attributes:
      max_lines: screens are enlarged by a whole number, to this many lines at most.
      filters: of ffmpeg, after the enlargement.
      encoder: arguments of ffmpeg.
      default_steps: agent steps of a film for which nothing is asked.
      most_steps: that may be asked for; None for any number.
    """

    max_lines: int
    filters: str
    encoder: tuple[str, ...]
    default_steps: int
    most_steps: int | None = None


# H.264 wants an even height and width. A GIF has one palette, of all its pictures, which ffmpeg
# keeps in memory until the last has come: hence it is short.
_FORMATS = {
    ".mp4": _Format(
        640,
        "pad=ceil(iw/2)*2:ceil(ih/2)*2",
        ("-vcodec", "libx264", "-pix_fmt", "yuv420p", "-f", "mp4"),
        27_000,
    ),
    ".gif": _Format(
        420,
        "split[a][b];[a]palettegen=max_colors=64:stats_mode=diff[p];[b][p]paletteuse=dither=none",
        ("-f", "gif"),
        1_000,
        1_000,
    ),
}


def check(output: Path, max_steps: int | None) -> int:
    """The agent steps that a film may have.

    Args:
      output: the film to be made.
      max_steps: as asked for; None for the default.

    Raises:
      ConfigError: if no such film can be made.
    """
    if output.suffix not in _FORMATS or not output.parent.is_dir() or output.is_dir():
        raise checks.ConfigError(
            f"output = {str(output)!r}: expected a file .mp4 or .gif in a directory that exists"
        )
    form = _FORMATS[output.suffix]
    num_steps = max_steps or form.default_steps
    if form.most_steps and num_steps > form.most_steps:
        raise checks.ConfigError(
            f"max_steps = {num_steps}: expected at most {form.most_steps} of a {output.suffix} film"
        )
    return num_steps


class Film:
    """A film, written beside its final place and moved there when complete."""

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
        form = _FORMATS[self._output.suffix]
        scale = max(1, form.max_lines // height)
        # Enlarged without smoothing.
        filters = f"scale=iw*{scale}:ih*{scale}:flags=neighbor,{form.filters}"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo"]
        command += ["-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-r", f"{self._frames_per_second:g}", "-i", "-", "-an", "-vf", filters]
        command += [*form.encoder, str(self._partial)]
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
