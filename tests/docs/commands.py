"""Checks a command of the documentation without running it: its program, flags, config and keys."""

import ast
import functools
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from training import derived, run_settings

ROOT = Path(__file__).parents[2]
_CONFIG = "--config="


class CommandError(ValueError):
    """A command that the program it names would refuse."""


@functools.cache
def flags_of(module: str) -> frozenset[str]:
    """The flags that a program and those of scripts/ that it uses define.

    By their source: importing it would define them here.
    """
    path = ROOT / f"{module.replace('.', '/')}.py"
    if not path.exists():
        raise CommandError(f"{module}: no such program")
    nodes = list(ast.walk(ast.parse(path.read_text())))
    own = {name for node in nodes if isinstance(node, ast.Call) for name in _defined(node)}
    used = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "scripts"]
    names = [alias.name for node in used for alias in node.names]
    return frozenset(own.union(*(flags_of(f"scripts.{name}") for name in names)))


def _defined(call: ast.Call) -> list[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if not (name.startswith("DEFINE_") or name == "add_argument"):
        return []
    (first, *_) = call.args
    return [first.value.lstrip("-")] if isinstance(first, ast.Constant) else []


def check(module: str, arguments: list[str]) -> None:
    """Raises CommandError or ConfigError for arguments that `python -m module` would refuse.

    Args:
      module: such as "scripts.train".
      arguments: a flag is `--NAME=VALUE`, `--NAME` or `--noNAME`. A config that is "..." stands for
        any, and is not loaded.
    """
    known = flags_of(module)
    if "--" in arguments:
        end = arguments.index("--")
        _check_sweep(arguments[:end], arguments[end + 1 :])
        arguments = arguments[:end]
    for argument in arguments:
        name = argument.removeprefix("--").partition("=")[0]
        is_flag = argument.startswith("--") and not name.startswith("config.")
        if is_flag and not {name, name.removeprefix("no")} & known:
            raise CommandError(f"{module} has no flag {argument!r}; it has {sorted(known)}")
    configs = [argument for argument in arguments if argument.startswith(_CONFIG)]
    if configs and configs[-1] != f"{_CONFIG}...":
        check_config([word for word in arguments if word.startswith("--config")])


def _check_sweep(arguments: list[str], overrides: list[str]) -> None:
    """What follows `--` goes to the runs of all configs; a branch's depends on its run."""
    given = dict(argument[2:].split("=", 1) for argument in arguments)
    for config in given.get("configs", "").split(","):
        if config:
            check_config([f"{_CONFIG}{config}", *overrides])
    strange = [argument for argument in overrides if not argument.startswith("--config.")]
    if strange:
        raise CommandError(f"{strange[0]!r} after --: expected keys of the config")


def check_config(arguments: list[str]) -> None:
    """Loads `--config=FILE:ARGUMENT`, sets the keys and parses the result, as a run does."""
    values = flags.FlagValues()
    argv = ["program", *arguments]
    try:
        holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
        values(argv)
        run_settings.parse(derived.resolve(holder.value))
    except (flags.Error, LookupError, AttributeError, TypeError, OSError) as error:
        raise CommandError(f"{' '.join(arguments)}: {error}") from error
