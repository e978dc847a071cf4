"""The code blocks of the documentation's pages, and what a reader is told about them.

A comment before a block says what is done with it: `<!-- run -->` runs it, `<!-- not run: WHY -->`
does nothing, and `<!-- run by TEST -->` names the test that does. Without one it is checked: its
programs, flags, configs and keys exist.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.docs import commands

DOCS = commands.ROOT / "docs"
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^>]*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)
_HEREDOC = re.compile(r"<<'(\w+)'[^\n]*\n.*?^\1$", re.M | re.S)
_SHELL = ("mkdir", "cp", "sed", "cat", "cd", "source", "git", "python", "sbatch", "ruff", "docker")


class Block(NamedTuple):
    """A block of code: its language, text, and whether it is to be run, checked or left alone."""

    language: str
    text: str
    treatment: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in shell or Python."""
    found = []
    for match in _BLOCK.finditer(page.read_text()):
        mark = match["mark"] or "check"
        if match["language"] in ("bash", "python"):
            assert mark in ("run", "check") or re.match(r"not run: \w|run by tests/", mark), mark
            found.append(Block(match["language"], match["text"], mark))
    return found


def lines(block: Block) -> Iterator[list[str]]:
    """The commands of a block in shell, as words; what is given to one by `<<` is left out."""
    text = _HEREDOC.sub("", block.text).replace("\\\n", " ")
    for line in text.splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def check(words: list[str]) -> None:
    """Raises CommandError for a command that would be refused."""
    if words[0].startswith("effective-rainbow"):
        commands.check(f"scripts.{words[1]}", words[2:])
    elif words[0] in ("python", ".venv/bin/python") and words[2].startswith(
        ("scripts.", "benchmarks.")
    ):
        commands.check(words[2], words[3:])
    elif words[0] == "make":
        _check_make(words[1:])
    elif words[0] == "pip":
        _check_pip(words)
    elif words[0] not in _SHELL:
        raise commands.CommandError(f"{words}: expected a command that can be checked")


def _check_make(words: list[str]) -> None:
    makefile = (commands.ROOT / "Makefile").read_text()
    for word in words:
        name, is_variable, _ = word.partition("=")
        pattern = rf"^{name} \?=" if is_variable else rf"^{name}:"
        if not re.search(pattern, makefile, re.M):
            raise commands.CommandError(f"make has no {word!r}")


def _check_pip(words: list[str]) -> None:
    project = tomllib.loads((commands.ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"\.\[([\w,]+)\]", " ".join(words)):
        unknown = set(extras.split(",")) - set(project["optional-dependencies"])
        if unknown:
            raise commands.CommandError(f"no such extra: {unknown}")
