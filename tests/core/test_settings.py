"""Settings: what is parsed, what is refused and in which words, and the way back to a config."""

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections
import pytest
from ml_collections import config_dict

from agents import iql
from core import checks, settings
from envs import atari, gymnasium_vector
from networks import value_network
from networks.torsos import mlp, nature
from tests.core import sections
from training import derived, run_settings

_ROOT = Path(__file__).parents[2]
_ROOMS = ("agents", "networks", "plasticity", "replay", "envs", "training", "cluster")


@dataclasses.dataclass(frozen=True)
class Inner:
    """A section within another one."""

    size: int = settings.key(3, checks.integer(1), "how large")
    ratio: float = settings.key(0.5, checks.number(0, 1), "of what", "a paper")


@dataclasses.dataclass(frozen=True)
class Outer:
    """A section with keys of every kind."""

    name: str = settings.key("x", checks.one_of("x", "y"), "which")
    sizes: tuple[int, ...] = settings.key((1, 2), checks.each(checks.integer(1)), "of each")
    length: int | None = settings.key(None, checks.optional(checks.integer(1)), "of all")
    kwargs: Mapping[str, Any] = settings.key({"a": 1}, checks.plain(), "of a user's own")
    inner: Inner = settings.section(Inner)


def section(**changes):
    """The section of defaults as a plain dict, with changes."""
    return {**settings.to_config(Outer()).to_dict(), **changes}


def refused(mapping, cls=Outer, path="outer"):
    """The message of the refusal."""
    with pytest.raises(checks.ConfigError) as error:
        settings.parse(cls, mapping, path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_section_of_defaults_is_the_defaults():
    assert settings.parse(Outer, section(), "outer") == Outer()
    assert settings.parse(Outer, settings.to_config(Outer())) == Outer()


def test_values_are_taken_and_sections_in_sections_are_parsed():
    changed = section(name="y", length=7, inner={"size": 9, "ratio": 1})
    parsed = settings.parse(Outer, changed, "outer")
    assert parsed == Outer(name="y", length=7, inner=Inner(size=9, ratio=1))
    assert isinstance(parsed.inner, Inner)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nam": "x"}, "outer.nam = 'x': unknown key; known: inner, kwargs, length, name, sizes"),
        ({"name": "z"}, "outer.name = 'z': expected one of 'x', 'y'"),
        ({"sizes": (1, 0)}, "outer.sizes = (1, 0): expected a list of items, each an integer >= 1"),
        ({"sizes": 1}, "outer.sizes = 1: expected a list of items, each an integer >= 1"),
        ({"length": 0}, "outer.length = 0: expected an integer >= 1"),
        ({"inner": 3}, "outer.inner = 3: expected a section"),
        (
            {"inner": {"size": 0, "ratio": 0.5}},
            "outer.inner.size = 0: expected an integer >= 1",
        ),
        (
            {"inner": {"size": 1, "ratio": 1.5}},
            "outer.inner.ratio = 1.5: expected a number >= 0 and <= 1",
        ),
        ({"inner": {"size": 1}}, "outer.inner.ratio is missing: expected a number >= 0 and <= 1"),
        (
            {"inner": {"size": 1, "ratio": 0, "depth": 2}},
            "outer.inner.depth = 2: unknown key; known: ratio, size",
        ),
        (
            {"kwargs": {"a": {1, 2}}},
            "outer.kwargs = {'a': {1, 2}}: expected a dict of finite numbers, texts, booleans, "
            "None, lists and dicts",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line(changes, message):
    assert refused(section(**changes)) == message


def test_a_missing_key_is_told_with_what_is_allowed():
    lacking = section()
    del lacking["name"]
    assert refused(lacking) == "outer.name is missing: expected one of 'x', 'y'"


def test_the_whole_configuration_has_no_path():
    assert refused(section(inner={"size": 0, "ratio": 0}), path="") == (
        "inner.size = 0: expected an integer >= 1"
    )
    assert refused(section(name="z"), path="") == "config.name = 'z': expected one of 'x', 'y'"


# Lists, dicts, and keys that follow others.


def test_lists_become_tuples_also_within_lists():
    parsed = settings.parse(Outer, section(sizes=[3, 4]), "outer")
    assert parsed.sizes == (3, 4)
    hash(parsed.sizes)


def test_dicts_stay_dicts_and_defaults_are_not_shared():
    config = settings.to_config(Outer())
    assert isinstance(config.kwargs, ml_collections.ConfigDict)
    with config.unlocked():
        config.kwargs.b = [1, {"c": None}]
    parsed = settings.parse(Outer, config, "outer")
    assert type(parsed.kwargs) is dict
    assert parsed.kwargs["a"] == 1
    assert Outer().kwargs == {"a": 1}
    assert Outer().kwargs is not Outer().kwargs


def test_a_key_that_is_not_given_is_a_placeholder_of_its_type():
    """So the command line can set it, to nothing but that type."""
    config = settings.to_config(Outer())
    assert config.length is None
    assert settings.parse(Outer, config).length is None
    config.length = 5
    assert settings.parse(Outer, config).length == 5
    with pytest.raises(TypeError):
        config.length = "long"


def test_rows_tell_every_key_with_its_path():
    rows = {row.path: row for row in settings.rows(Outer, "outer")}
    assert list(rows) == [
        "outer.name",
        "outer.sizes",
        "outer.length",
        "outer.kwargs",
        "outer.inner.size",
        "outer.inner.ratio",
    ]
    row = rows["outer.inner.ratio"]
    assert (row.default, row.key.doc, row.key.source) == (0.5, "of what", "a paper")
    assert rows["outer.kwargs"].default == {"a": 1}


# Sections whose class a key `module` tells.


@dataclasses.dataclass(frozen=True)
class Network:
    """A section with a plug-in."""

    torso: Any = settings.plugin("networks.torsos", "nature")


@dataclasses.dataclass(frozen=True)
class Whole:
    """A configuration in which one section tells the class of another."""

    agent: Any = settings.plugin("agents", "rainbow")
    network: Any = settings.part_of_plugin("agents", "agent", "NetworkSettings")


def test_the_module_tells_the_class_of_a_section():
    assert Network().torso == nature.Settings()
    chosen = {"torso": {"module": "mlp", "hidden_sizes": [4]}}
    assert settings.parse(Network, chosen).torso == mlp.Settings(hidden_sizes=(4,))


@pytest.mark.parametrize(
    ("torso", "message"),
    [
        ({}, "n.torso.module is missing: expected a module of networks.torsos"),
        (
            {"module": "perceiver"},
            "n.torso.module = 'perceiver': expected a module of networks.torsos: "
            "cnn, data_efficient, hyperspherical, impala, mlp, nature, transformer",
        ),
        ({"module": ""}, "n.torso.module = '': expected the name of a module of networks.torsos"),
        ({"module": 3}, "n.torso.module = 3: expected the name of a module of networks.torsos"),
        (
            {"module": "mlp", "formulation": "lax"},
            "n.torso.formulation = 'lax': unknown key; known: hidden_sizes, module",
        ),
        ({"module": "mlp"}, "n.torso.hidden_sizes is missing: expected a list of items, each "
         "an integer >= 1"),
        ("mlp", "n.torso = 'mlp': expected a section"),
    ],
)  # fmt: skip
def test_bad_plugins_are_refused_in_one_line(torso, message):
    assert refused({"torso": torso}, Network, "n") == message


@pytest.mark.parametrize(
    ("package", "name"),
    [("agents", "optimizers"), ("agents", "base"), ("envs", "base"), ("envs", "task_sequence")],
)
def test_contracts_and_parts_of_plugins_can_not_be_chosen(package, name):
    """They have Settings and make too, or one of them, but are no plug-ins."""
    with pytest.raises(checks.ConfigError, match=rf"^x\.module = '{name}': expected a module of"):
        settings.find_plugin(package, "x", {"module": name})


OTHER_TORSO = """
import dataclasses
from core import checks, settings

@dataclasses.dataclass(frozen=True)
class Settings:
    module: str = settings.key("somebody.torso", checks.text(), "this torso")
    depth: int = settings.key(2, checks.integer(1), "of it")

def make(chosen, nonlinear):
    return None
"""


def test_a_module_of_somebody_else_is_found_by_its_whole_name(tmp_path, monkeypatch):
    (tmp_path / "somebody").mkdir()
    (tmp_path / "somebody" / "torso.py").write_text(OTHER_TORSO)
    (tmp_path / "somebody" / "empty.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    chosen = {"torso": {"module": "somebody.torso", "depth": 5}}
    parsed = settings.parse(Network, chosen).torso
    assert (type(parsed).__module__, parsed.depth) == ("somebody.torso", 5)
    assert refused({"torso": {"module": "somebody.empty"}}, Network, "n") == (
        "n.torso.module = 'somebody.empty': expected a module with Settings and make"
    )
    message = refused({"torso": {"module": "nobody.torso"}}, Network, "n")
    assert message.startswith("n.torso.module = 'nobody.torso': can't be imported: ")


def test_a_part_of_a_plugin_has_the_class_of_its_owners_module():
    config = ml_collections.ConfigDict()
    config.agent = settings.to_config(iql.Settings())
    config.network = settings.to_config(iql.NetworkSettings())
    assert settings.parse(Whole, config).network == iql.NetworkSettings()
    config.network = settings.to_config(value_network.Settings())
    message = refused(config, Whole, "")
    assert message.startswith("network.activation = ")
    assert message.endswith("unknown key; known: policy, q, value")
    del config.agent["module"]
    message = refused(config, Whole, "")
    assert message == "agent.module is missing: expected a module of agents"


# The way back.


def sections_of_the_project():
    """Every dataclass of the project whose fields are keys and sections, by its name."""
    found = {}
    for room in _ROOMS:
        for path in sorted((_ROOT / room).rglob("*.py")):
            if "settings.key(" not in path.read_text() and "_lib.key(" not in path.read_text():
                continue
            name = ".".join(path.relative_to(_ROOT).with_suffix("").parts)
            for item in vars(importlib.import_module(name)).values():
                if isinstance(item, type) and item.__module__ == name and _is_section(item):
                    found[f"{name}.{item.__name__}"] = item
    return found


def _is_section(cls):
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return bool(fields) and all(field.metadata for field in fields)


SECTIONS = sections_of_the_project()


def test_the_projects_sections_are_found():
    names = {name.rpartition(".")[2] for name in SECTIONS}
    assert {"Settings", "RunSettings", "ProjectionSettings", "DistributedSettings"} <= names
    assert len(SECTIONS) > 20


def _without_parts(cls):
    """Whether no section of it depends on another one, so that it has defaults of its own."""
    fields = dataclasses.fields(cls)
    return all(field.default is not None or "key" in field.metadata for field in fields)


@pytest.mark.parametrize("name", [name for name, cls in SECTIONS.items() if _without_parts(cls)])
def test_every_section_comes_back_from_its_config(name):
    """With a length in place of keys that follow others: `parse` is for resolved configurations."""
    section = sections.resolved(settings.to_config(SECTIONS[name]()).to_dict())
    parsed = settings.parse(SECTIONS[name], section, "section")
    assert settings.to_config(parsed).to_dict() == section
    assert settings.parse(SECTIONS[name], settings.to_config(parsed), "section") == parsed
    if section == settings.to_config(SECTIONS[name]()).to_dict():
        assert parsed == SECTIONS[name]()


@pytest.mark.parametrize("name", [name for name, cls in SECTIONS.items() if _without_parts(cls)])
def test_a_key_that_is_not_given_is_refused_or_allowed_to_be(name):
    """What is left None either follows another key, and has to be resolved, or may be None."""
    cls = SECTIONS[name]
    for row in settings.rows(cls, "section"):
        if row.default is None and not row.key.check.accepts(None):
            assert row.path.rpartition(".")[2] in ("duration", "importance_exponent_end_steps")


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_says_what_it_means(name):
    """And a default that is given is an allowed one, which `parse` has checked above."""
    for row in settings.rows(SECTIONS[name], "section"):
        assert row.key.doc, row.path
        assert row.key.check.allowed, row.path


@pytest.mark.parametrize("agent", ["rainbow", "dqn", "iql"])
@pytest.mark.parametrize("replay", ["prioritized", "uniform"])
def test_a_whole_configuration_comes_back(agent, replay):
    config = derived.resolve(run_settings.default_config("atari", agent, replay))
    parsed = run_settings.parse(config)
    assert settings.to_config(parsed).to_dict() == config.to_dict()
    assert run_settings.parse(settings.to_config(parsed)) == parsed


def test_changed_sections_come_back():
    for changed in (
        atari.Settings(game="qbert", full_action_space=False),
        gymnasium_vector.Settings(kwargs={"gravity": 1.5, "list": (1, {"a": None})}),
        Outer(length=4, kwargs={}, sizes=()),
    ):
        assert settings.parse(type(changed), settings.to_config(changed), "section") == changed


def test_placeholders_of_the_project_have_the_right_types():
    config = settings.to_config(atari.Settings())
    assert config.full_action_space is None
    assert isinstance(config.get_ref("full_action_space"), config_dict.FieldReference)
    config.full_action_space = True
    with pytest.raises(TypeError):
        config.full_action_space = "yes"
