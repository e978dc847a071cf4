"""The methods of configs/lab as changes that can be made to any config."""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

import configs.lab

# Keys by which the configs of configs/lab differ, besides the agent.
_KEYS = (
    "interventions",
    "optimizer.name",
    "optimizer.kwargs",
    "optimizer.projection.enabled",
    "network.norm",
    "network.activation",
    "network.injection",
)


def names() -> list[str]:
    """The methods that leave the agent as it is; "plain" changes nothing."""
    found = [module.name for module in pkgutil.iter_modules(configs.lab.__path__)]
    agent = _config("plain").agent.module
    return [name for name in found if name != "task" and _config(name).agent.module == agent]


def changes(name: str) -> dict[str, Any]:
    """What a method's config has otherwise than configs/lab/plain.py, by key."""
    plain, method = (_flat(_config(x).to_dict()) for x in ("plain", name))
    own = {key: value for key, value in method.items() if plain.get(key) != value}
    return {key: value for key, value in own.items() if key.startswith(_KEYS)}


def _config(name: str) -> Any:
    return importlib.import_module(f"configs.lab.{name}").get_config()


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        flat |= _flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat
