"""Where compiled programs are kept between runs of the tests."""

import os
import shutil
from pathlib import Path

_MOST_BYTES = 2**30


def directory() -> Path:
    """The directory, in the user's cache; emptied first if it has grown large."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "effective-rainbow" / "tests"
    place.mkdir(parents=True, exist_ok=True)
    # By the first process alone: the others use it already.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        sizes = [entry.stat().st_size for entry in os.scandir(place) if entry.is_file()]
        if sum(sizes) > _MOST_BYTES:
            shutil.rmtree(place)
            place.mkdir()
    return place
