"""effective-rainbow NAME ...: as `python -m scripts.NAME ...`, from any directory.

The rooms come first on Python's path, then the present directory, so that modules and configs of
one's own project are found: they must be in packages whose names are not those of the rooms.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CONFIGS = ("--config", "--configs")


def root() -> Path:
    """Where the rooms are: beside this package in a checkout, in it where it was installed."""
    installed = _PACKAGE / "rooms"
    return installed if installed.is_dir() else _PACKAGE.parent


def programs() -> list[str]:
    """The names of the programs: the files of scripts/ that can be run."""
    files = sorted((root() / "scripts").glob("*.py"))
    return [file.stem for file in files if "__main__" in file.read_text(encoding="utf-8")]


def with_configs(arguments: Sequence[str]) -> list[str]:
    """Arguments in which configs of the project itself are named by their whole paths.

    `--config=configs/NAME.py:ARGUMENT` is one's own file where there is one; so are those of
    `--configs`, with commas between. The value may be the next argument.
    """
    found = []
    for before, argument in zip(["", *arguments], arguments):
        flag, equals, value = argument.partition("=")
        if equals and flag in _CONFIGS:
            found.append(f"{flag}={_with_paths(value)}")
        else:
            found.append(_with_paths(argument) if before in _CONFIGS else argument)
    return found


def _with_paths(configs: str) -> str:
    return ",".join(map(_with_path, configs.split(",")))


def _with_path(config: str) -> str:
    name, colon, rest = config.partition(":")
    own = root() / name
    return config if Path(name).exists() or not own.is_file() else f"{own}{colon}{rest}"


def environment(given: dict[str, str], directory: str) -> dict[str, str]:
    """The variables with which the program, and every process that it starts, finds modules.

    Args:
      given: the present variables.
      directory: of one's own project.
    """
    path = [str(root()), directory, *filter(None, [given.get("PYTHONPATH")])]
    # Python would put the present directory first: a folder `agents` there would hide the room.
    return {**given, "PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}


def main(argv: Sequence[str] = tuple(sys.argv)) -> None:
    """Turns this process into the program; a name that is unknown ends it with exit code 2."""
    names = programs()
    if len(argv) < 2 or argv[1] not in names:
        given = argv[1] if len(argv) > 1 else ""
        print(f"error: program = {given!r}: expected one of {', '.join(names)}", file=sys.stderr)
        sys.exit(2)
    command = [sys.executable, "-m", f"scripts.{argv[1]}", *with_configs(argv[2:])]
    os.execve(sys.executable, command, environment(dict(os.environ), str(Path.cwd())))


if __name__ == "__main__":
    main()
