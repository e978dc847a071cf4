"""Finds the file that a config names: agents/NAME.py, networks/NAME.py, envs/NAME.py."""

import importlib
import pkgutil
from types import ModuleType

from configs import checks


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
    known = sorted(module.name for module in pkgutil.iter_modules(package_path))
    module = importlib.import_module(f"{package}.{name}") if name in known else None
    if not hasattr(module, "make"):
        listed = ", ".join(known)
        raise checks.ConfigError(f"{key} = {name!r}: expected a module of {package}/: {listed}")
    assert module is not None
    return module
