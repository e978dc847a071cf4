"""The containers' files. They are not built here: what can be read in them is checked."""

import re
import string

import pytest
import yaml

from cluster import context
from tests.docs import commands

_DIRECTORY = commands.ROOT / "docker"
_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((_DIRECTORY / "compose.yaml").read_text())["services"]


def test_every_role_has_a_command_that_is_accepted(services):
    roles, runs = [], set()
    for service in services.values():
        module, *arguments = (_DEFAULT.sub(r"\1", word) for word in service["command"])
        commands.check(module, arguments)
        values = dict(word[2:].split("=", 1) for word in arguments)
        roles.append((values["role"], values.get("index")))
        runs.add((values["config"], values["run_dir"], values["actors"]))
    assert {role for role, _ in roles} == set(context.ROLES)
    ((_, _, num_actors),) = runs
    actors = sorted(int(index) for role, index in roles if role == "actor")
    assert actors == list(range(int(num_actors)))


def test_the_server_is_reached_by_its_service_name(services):
    assert "--host=replay" in services["replay"]["command"]


def test_all_see_the_same_runs(services):
    assert {tuple(service["volumes"]) for service in services.values()} == {("runs:/project/runs",)}


@pytest.mark.parametrize("name", ["training", "replay"])
def test_files_that_are_copied_exist(name):
    text = (_DIRECTORY / f"{name}.Dockerfile").read_text()
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (commands.ROOT / source).exists(), source
    instructions = re.findall(r"^([A-Z]+)\b", text, re.MULTILINE)
    assert set(instructions) <= {
        *("FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "VOLUME", "ENTRYPOINT", "CMD"),
    }
    defined = set(re.findall(r"^ARG (\w+)", text, re.MULTILINE)) | {"PATH"}
    used = {match[2] for match in string.Template.pattern.findall(text) if match[2]}
    assert used <= defined


def test_a_command_with_a_wrong_flag_or_key_is_found():
    with pytest.raises(commands.CommandError, match="no flag '--speed=3'"):
        commands.check("scripts.train", ["--config=configs/probe.py:1", "--speed=3"])
    with pytest.raises(commands.CommandError, match="capacty"):
        commands.check(
            "scripts.train", ["--config=configs/probe.py:1", "--config.replay.capacty=3"]
        )
    with pytest.raises(commands.CommandError, match="no such program"):
        commands.check("scripts.fly", [])
