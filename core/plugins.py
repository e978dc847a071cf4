"""Finds the file that a config names, such as agents/NAME.py or replay/device/NAME.py."""

import importlib
import importlib.util
import pkgutil
from types import ModuleType

from core import checks


def find(package: str, name: str, key: str) -> ModuleType:
    """Imports `<package>/<name>.py`, which must define `Settings`, with a key `module`, and `make`.

    So a new agent, network, replay or environment is one new file: nothing else needs an edit. A
    name with a dot is the import path of an external module.

    Args:
      package: a package of the project, e.g. "envs".
      name: the module's name in it, or the full name of an external module.
      key: the config key that holds the name, for the message.

    Raises:
      ConfigError: if there is no such module, or it has no such `Settings` or no `make`.
    """
    if not isinstance(name, str) or not all(map(str.isidentifier, name.split("."))):
        raise checks.ConfigError(f"{key} = {name!r}: expected the name of a module of {package}")
    if "." in name:
        return _find_elsewhere(name, key)
    # Looked up directly, as runs do this often: no other module is imported.
    path = f"{package}.{name}"
    module = importlib.import_module(path) if importlib.util.find_spec(path) else None
    if module is None or not _is_plugin(module):
        listed = ", ".join(names(package)) or "there are none"
        raise checks.ConfigError(f"{key} = {name!r}: expected a module of {package}: {listed}")
    return module


def names(package: str) -> list[str]:
    """The modules of a package that can be chosen."""
    path = importlib.import_module(package).__path__
    modules = sorted(module.name for module in pkgutil.iter_modules(path))
    return [name for name in modules if _is_plugin(importlib.import_module(f"{package}.{name}"))]


def _find_elsewhere(name: str, key: str) -> ModuleType:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise checks.ConfigError(f"{key} = {name!r}: can't be imported: {error}") from error
    if not _is_plugin(module):
        raise checks.ConfigError(f"{key} = {name!r}: expected a module with Settings and make")
    return module


def _is_plugin(module: ModuleType) -> bool:
    # Contracts and parts of plug-ins have Settings and make as well, but no key `module`.
    fields = getattr(getattr(module, "Settings", None), "__dataclass_fields__", {})
    return "module" in fields and hasattr(module, "make")
