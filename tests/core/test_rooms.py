"""Which room may import which, and how full a room may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import plugins

_ROOT = Path(__file__).parents[2]

# What each room may import beside itself.
_PARTS = {"core", "networks", "plasticity"}
_SIDES = {*_PARTS, "agents", "replay", "envs"}
ROOMS = {
    "core": set(),
    "networks": {"core"},
    "plasticity": {"core"},
    "agents": _PARTS,
    "replay": {"core"},
    "envs": {"core"},
    "analysis": {"core", "envs"},
    "training": _SIDES,
    "cluster": {*_SIDES, "training"},
    "configs": {*_SIDES, "training", "cluster"},
    "scripts": {*_SIDES, "training", "cluster", "analysis"},
}
_MOST_FILES = 12
_PLUGIN_ROOMS = ("agents", "envs", "plasticity/interventions")
_MOST_METHODS = 16


def _files(room: str) -> Iterator[Path]:
    return (_ROOT / room).rglob("*.py")


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room):
    allowed = ROOMS[room] | {room}
    for path in _files(room):
        used = {name.partition(".")[0] for name in _imported(path)} & ROOMS.keys()
        assert used <= allowed, f"{path.relative_to(_ROOT)} imports {used - allowed}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_what_it_is_for(room):
    for directory in {path.parent for path in _files(room)}:
        assert ast.get_docstring(ast.parse((directory / "__init__.py").read_text())), directory


# Of configurations and commands a reader needs one.
@pytest.mark.parametrize("room", sorted(ROOMS.keys() - {"configs", "scripts"}))
def test_no_room_is_too_full(room):
    for directory in {path.parent for path in _files(room)}:
        modules = {path.stem for path in directory.glob("*.py")} - {"__init__"}
        place = str(directory.relative_to(_ROOT))
        if place in _PLUGIN_ROOMS:  # of these a reader needs one
            modules -= set(plugins.names(place.replace("/", ".")))
        assert len(modules) <= _MOST_FILES, f"{place}: {len(modules)} files"


@pytest.mark.parametrize("room", ROOMS)
def test_no_class_does_too_much(room):
    for path in _files(room):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                methods = sum(isinstance(part, ast.FunctionDef) for part in node.body)
                assert methods <= _MOST_METHODS, f"{path.name}: {node.name} has {methods} methods"
