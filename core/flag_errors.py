"""What is wrong with the flags that choose a configuration, each mistake in one line."""

import re
import traceback
from collections.abc import Sequence
from typing import Any

from core import checks

_QUOTES = "'\""
# What ml_collections and absl say of a value of the wrong kind, and what was expected instead.
_KINDS = {
    "invalid literal for int()": "an integer, such as 1_000",
    "could not convert string to float": "a number, such as 1e-3",
    "Non-boolean argument": "true or false",
    "Failed to parse": "its keys one by one, as --config.SECTION.KEY=VALUE",
    "malformed node or string": "a list, such as (1,2)",
}
_LINE = re.compile(r'File "([^"]+)", line (\d+)')


def describe(error: BaseException, given: Sequence[str]) -> str:
    """Describes in one line an error raised while parsing flags or running a config file.

    Args:
      error: what absl, ml_collections or the config file raised.
      given: the flags, for errors that have only the end of the key.
    """
    if isinstance(error, checks.ConfigError):
        return str(error)
    text = str(error.args[0] if error.args else error)
    if "Traceback" in text:
        return _describe_traceback(text)
    if "has no attribute 'get_config'" in text:
        return f"{_config_flag(given)}expected a Python file that defines get_config"
    if isinstance(error, (KeyError, AttributeError)):
        return _describe_unknown_key(given, text)
    if isinstance(error, SyntaxError):
        return f"{_config_flag(given)}expected a Python file that defines get_config: {error}"
    flag = re.match(r"flag (--\S+?=.*?): ", text, re.DOTALL)
    for said, expected in _KINDS.items():
        if flag and said in text:
            if _is_open(flag[1].partition("=")[0]):
                expected = "a dict in quotes, such as \"{'key': 1}\""
            return f"{flag[1]}: expected {expected}"
    return " ".join(text.removeprefix("flag ").split())


def _config_flag(given: Sequence[str]) -> str:
    return next((f"{flag}: " for flag in given if flag.startswith("--config=")), "--config: ")


def check_sections(config: Any, given: Sequence[str]) -> None:
    """Checks that no flag replaces a whole section, whose other keys would be lost.

    Raises:
      ConfigError: for the first flag that does.
    """
    for flag in given:
        key, equals, _ = flag.partition("=")
        path = key.lstrip("-").removeprefix("config.")
        if not equals or path == key.lstrip("-") or _is_open(path):
            continue
        value: Any = config
        for name in path.split("."):
            value = value.get(name) if hasattr(value, "get") else None
        if hasattr(value, "to_dict"):
            raise checks.ConfigError(f"{flag}: expected {_KINDS['Failed to parse']}")


def _is_open(path: str) -> bool:
    """Whether a section's keys are the user's own: arguments of an external function."""
    return path.rpartition(".")[2] == "kwargs"


def describe_failure(error: BaseException) -> str:
    """An error in a config file's own code, in one line that says where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"


def _describe_traceback(text: str) -> str:
    """The error in a config file that ml_collections reports, and its location.

    Preceded by the flag that the report begins with, and a colon.
    """
    flag = re.match(r"flag (--\S+?=.*?): Error whilst", text, re.DOTALL)
    kind, _, message = text.strip().splitlines()[-1].partition(": ")
    before = f"{flag[1]}: " if flag else ""
    if kind.endswith("ConfigError"):
        return f"{before}{message}"
    places = _LINE.findall(text)
    where = " ({}:{})".format(*places[-1]) if places else ""
    return f"{before}{kind}: {message}{where}"


def _describe_unknown_key(given: Sequence[str], message: str) -> str:
    """Puts the whole key and its value before ml_collections' message, which has only its end."""
    # A KeyError's text is quoted once more each time it is passed on.
    key, _, hint = message.replace("\\n", "\n").replace("\\'", "").partition("\n")
    name = key.strip(_QUOTES)
    named = [argument for argument in given if f".{name}=" in argument or f".{name}." in argument]
    return f"{named[0] if named else key}: unknown key {name!r}. {hint.strip(_QUOTES)}".strip()
