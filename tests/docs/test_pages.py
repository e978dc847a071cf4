"""Every command of the documentation is run, or checked, or said not to be run."""

import ast
import html
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from configs import (
    atari_100k,
    cartpole,
    classification_stream,
    continual_nap,
    data_efficient_nap,
    dqn,
    impala,
    ms_pacman_dqn,
    probe,
    rainbow,
    rainbow_nap,
)
from envs import base as envs_base
from tests.docs import commands, pages
from training import derived, experiment, run_settings
from training.system import memory

_PAGES = sorted(
    path
    for path in [*pages.DOCS.rglob("*.md"), commands.ROOT / "README.md"]
    if not path.is_relative_to(pages.DOCS / "results")
)
_NAMES = [str(path.relative_to(commands.ROOT)) for path in _PAGES]
_OWN_CODE = pages.DOCS / "how_to" / "own_code.md"
# In this order: a run, then what reads it.
_RUN = [pages.DOCS / "how_to" / name for name in ("read_a_run.md", "profile.md")]


@pytest.mark.parametrize("page", _PAGES, ids=_NAMES)
def test_commands_are_accepted(page):
    for block in pages.blocks(page):
        if block.language == "python":
            ast.parse(block.text)
        elif block.treatment == "check":
            for words in pages.lines(block):
                pages.check(words)


def test_a_page_with_a_block_to_be_run_is_run():
    marked = {page for page in _PAGES if any(b.treatment == "run" for b in pages.blocks(page))}
    assert marked == set(_RUN)
    by_name = {
        b.treatment for page in _PAGES for b in pages.blocks(page) if "run by" in b.treatment
    }
    for test in by_name:
        assert (commands.ROOT / test.removeprefix("run by ")).exists()


def test_what_the_readme_links_to_is_there():
    text = (commands.ROOT / "README.md").read_text()
    found = re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)|src="([^"]+)"', text)
    assert len(found) > 30
    for link in map("".join, found):
        assert (commands.ROOT / link).exists(), link


def test_every_page_of_results_shows_a_picture_of_them():
    """Where there is one beside it."""
    for page in (pages.DOCS / "results").glob("*/*.md"):
        pictures = {path.name for path in page.parent.iterdir() if path.suffix in (".png", ".gif")}
        shown = set(re.findall(r"!\[[^\]]+\]\(([\w.]+)\)", page.read_text()))
        assert shown >= pictures, page


def test_diagrams_are_drawn_from_their_sources():
    """As far as their words tell."""
    sources = sorted((pages.DOCS / "site" / "diagrams").glob("*.mmd"))
    assert sources
    for source in sources:
        text = re.sub(r"^%%.*|^flowchart .*|<br/>", " ", source.read_text(), flags=re.M)
        labels = " ".join(re.findall(r'"([^"]+)"', text)) or re.sub("-->", " ", text)
        drawn = re.sub(r"<[^>]*>", " ", source.with_suffix(".svg").read_text().split("</style>")[1])
        drawn = html.unescape(drawn).split()
        assert set(labels.split()) <= set(drawn), source


def test_commands_that_would_be_refused_are_found():
    for text in ("make trian", "pip install '.[gpus]'", "fly", "python -m scripts.train --sped=1"):
        (words,) = pages.lines(pages.Block("bash", text, "check"))
        with pytest.raises(commands.CommandError):
            pages.check(words)


def _execute(script: str, directory: Path, **variables: str) -> None:
    # What a reader calls `python` is the environment's.
    path = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {"JAX_PLATFORMS": "cpu", "PATH": os.pathsep.join(path), **variables}
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def _code(language: str, *paths: Path, treatment: str = "run") -> str:
    found = [block for page in paths for block in pages.blocks(page)]
    return "\n".join(b.text for b in found if (b.language, b.treatment) == (language, treatment))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("checkout")
    rooms = [path.parent for path in commands.ROOT.glob("*/__init__.py")]
    for room in rooms:
        shutil.copytree(room, directory / room.name)
    return directory


@pytest.mark.slow
def test_pages_do_what_they_say(checkout):
    """The programs of all pages in one process, as each begins with its imports."""
    program = checkout / "pages.py"
    program.write_text(_code("python", *_RUN))
    _execute(_code("bash", *_RUN) + "python pages.py", checkout, PYTHONPATH=str(checkout))
    assert (checkout / "runs" / "read_me.png").stat().st_size > 10_000
    assert list((checkout / "runs" / "trace").rglob("*.trace.json.gz"))


@pytest.mark.slow
def test_own_code_in_another_directory_trains(tmp_path):
    """Agent, environment, intervention and config; a folder `agents` does no harm."""
    lab, programs = tmp_path / "lab", tmp_path / "bin"
    (lab / "agents").mkdir(parents=True)
    (lab / "agents" / "__init__.py").write_text("raise RuntimeError('not the project')\n")
    # As an installation makes it.
    programs.mkdir()
    command = programs / "effective-rainbow"
    command.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.append({str(commands.ROOT)!r})\n"
        "from effective_rainbow.__main__ import main\nsys.exit(main())\n"
    )
    command.chmod(0o755)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    mark = "run by tests/docs/test_pages.py"
    _execute(_code("bash", _OWN_CODE, treatment=mark), lab, PATH=path)
    last = (lab / "runs" / "mellow" / "train.csv").read_text().splitlines()
    columns = dict(zip(last[0].split(","), last[-1].split(",")))
    assert columns["game"] == "corridor_3"
    assert float(columns["mean_target"]) > 0
    (norm,) = (name for name in columns if name.endswith("shrink_norm"))
    assert float(columns[norm]) > 0
    # A random walk takes twelve steps to the end; this agent three, but for its epsilon.
    rows = (lab / "runs" / "mellow.csv").read_text().splitlines()
    lengths = [int(row.split(",")[-1]) for row in rows[1:]]
    assert sum(lengths) / len(lengths) < 6


@pytest.mark.parametrize(
    ("config", "gigabytes"),
    [
        *((made, 7.08) for made in (rainbow, rainbow_nap, continual_nap, impala)),
        *((made, 7.07) for made in (dqn, ms_pacman_dqn)),
        *((made, 0.71) for made in (data_efficient_nap, atari_100k)),
        (classification_stream, 0.01),
        *((made, 0.0) for made in (cartpole, probe)),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_memory_is_what_the_page_says(config, gigabytes):
    settings = run_settings.parse(derived.resolve(config.get_config()))
    spec, _ = envs_base.make_specs(settings.environment)
    replay = experiment.make_replay(settings, spec)
    found = memory.replay_bytes(replay, num_seeds=1) / 1e9
    assert round(found, 2) == gigabytes
    (row,) = (
        line
        for line in (pages.DOCS / "reference" / "resources.md").read_text().splitlines()
        if f"`{config.__name__.partition('.')[2]}.py`" in line
        and "GB" not in line
        and "min" not in line
    )
    said = f"{gigabytes:.2f}" if gigabytes else "below 0.01"
    assert row.split("|")[3].strip() == said


def _texts(path: Path) -> list[str]:
    """The constant texts of a program, those of f-strings in their parts."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def test_errors_are_those_of_the_code():
    """Each part of a message, between what differs, is a text of the code."""
    rooms = [path.parent for path in commands.ROOT.glob("*/__init__.py")]
    known = "\n".join(
        text for room in rooms for file in room.rglob("*.py") for text in _texts(file)
    )
    page = (pages.DOCS / "reference" / "troubleshooting.md").read_text()
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.M)
    assert len(messages) > 10
    for message in messages:
        for part in message.split("…"):
            assert part.strip(" :;") in known, message


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="Sphinx is not installed")
def test_the_site_is_built_without_a_warning(tmp_path):
    """Every page is read and every link followed; writing HTML would take as long again."""
    program = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    done = subprocess.run(
        [*program, "--builder", "dummy", "docs", str(tmp_path)],
        cwd=commands.ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
