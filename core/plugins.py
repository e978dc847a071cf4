"""Finds the file that a config names: agents/NAME.py, networks/NAME.py, envs/NAME.py."""

import importlib
import pkgutil
from types import ModuleType

from core import checks


def find(package: str, name: str, key: str) -> ModuleType:
    """Imports `<package>/<name>.py`, which must define `make`.

    So a new agent, network or environment is one new file: nothing else needs an edit.

    Args:
      package: a top-level package of the project, e.g. "envs".
      name: the module's name in it.
      key: the config key that holds the name, for the message.

    Raises:
      ConfigError: if there is no such module, or it has no `make`.
    """
    package_path = importlib.import_module(package).__path__
    names = sorted(module.name for module in pkgutil.iter_modules(package_path))
    if name in names and _is_component(package, name):
        return importlib.import_module(f"{package}.{name}")
    listed = ", ".join(other for other in names if _is_component(package, other))
    raise checks.ConfigError(f"{key} = {name!r}: expected a module of {package}/: {listed}")


def _is_component(package: str, name: str) -> bool:
    """Whether a module can be chosen: `base` holds the contract, others are parts of some."""
    return name != "base" and hasattr(importlib.import_module(f"{package}.{name}"), "make")
