"""How the documentation is built: `make docs`, which ends in build/site/index.html."""

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# API pages are made of the docstrings of the packages themselves.
sys.path.insert(0, str(ROOT))

project = "Effective Rainbow"
copyright = "the authors of Effective Rainbow"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
# Of results there are the pages alone; reports and protocols are linked as files.
exclude_patterns = ["results/*/report", "results/*/runs", "results/benchmarks/[ce]*.md"]

# So that a link to a heading works as it does where the files are shown.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_use_rtype = False
napoleon_use_ivar = True
# Words of a docstring that are taken for names of several attributes. Broken links are others.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = "Effective Rainbow"
html_favicon = "site/icon.svg"
html_static_path = ["site"]
html_css_files = ["tables.css"]
copybutton_exclude = ".linenos, .gp, .go"


_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def _follow_links(app: Any, docname: str, source: list[str]) -> None:
    """Links that a repository's browser follows, but a site can't.

    One to a directory becomes one to its index; one to a file outside of docs/ its name.
    """
    directory = (Path(app.srcdir) / docname).parent

    def replaced(match: re.Match[str]) -> str:
        text, target, anchor = match.groups(default="")
        path = (directory / target).resolve()
        if "://" in target or not path.exists():
            return match[0]  # what is broken, Sphinx says
        if not path.is_relative_to(app.srcdir):
            name = str(path.relative_to(ROOT))
            return f"`{name}`" if text.strip("`") == name else f"{text} (`{name}`)"
        return f"[{text}]({target}/index.md{anchor})" if path.is_dir() else match[0]

    source[0] = _LINK.sub(replaced, source[0])


_PROTOCOL = re.compile(r"results/(\w+)/PROTOCOL")


def _name_protocols(app: Any, docname: str, source: list[str]) -> None:
    """Titles of protocols get their experiment's name: in files they are all the same."""
    del app
    if match := _PROTOCOL.fullmatch(docname):
        source[0] = source[0].replace("# Protocol", f"# {match[1]}: protocol", 1)


# What reStructuredText would take for markup in docstrings, which are plain sentences and formulas.
_MARKUP = re.compile(r"((?<!^)\*|[|\\]|(?<=\w)_(?=\W|$))")


def _take_literally(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keeps formulas as they are, and shows `code` as code."""
    del app, what, name, obj, options
    for i, line in enumerate(lines):
        parts = line.lstrip().split("`")
        for k in range(0, len(parts), 2):
            parts[k] = _MARKUP.sub(r"\\\1", parts[k])
        indent = line[: len(line) - len(line.lstrip())]
        lines[i] = indent + "``".join(parts)


def _is_left_out(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Fields of named tuples are in the docstring of their class."""
    del app, what, name, skip, options
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-skip-member", _is_left_out)
    app.connect("source-read", _follow_links)
    app.connect("source-read", _name_protocols)
    # Before napoleon, which makes markup of the sections of a docstring.
    app.connect("autodoc-process-docstring", _take_literally, priority=400)
