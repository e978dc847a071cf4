"""The report as one HTML page that needs no other file."""

import base64
import html
from collections.abc import Sequence
from typing import NamedTuple


class Picture(NamedTuple):
    """A figure: its file's name without ending, a caption, and its PNG."""

    name: str
    caption: str
    png: bytes


class Table(NamedTuple):
    """A table of text: its file's name without ending, a caption, header and rows."""

    name: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Section(NamedTuple):
    """A part of the report: notes come first, then tables, then figures."""

    title: str
    notes: Sequence[str]
    figures: Sequence[Picture]
    tables: Sequence[Table]


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 68rem; margin: 0 auto;
       padding: 1rem; overflow-wrap: anywhere; }
h1, h2 { line-height: 1.2; }
figure { margin: 1.5rem 0; }
img { height: auto; }
figcaption { color: #555; font-size: .9rem; padding: .3rem 0; }
.scroll { overflow-x: auto; }
/* On a phone a wide figure is scrolled rather than shrunk until its text is lost. */
.scroll img { max-width: max(100%, 40rem); }
table { border-collapse: collapse; font-size: .85rem; overflow-wrap: normal; }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #888; }
@media (prefers-color-scheme: dark) {
  body { background: #16181c; color: #ddd; } figcaption { color: #aaa; }
  img { background: #fff; } th, td { border-color: #444; }
}
"""


def render(title: str, sections: Sequence[Section]) -> str:
    """The page's HTML; all text is escaped, pictures are part of it."""
    body = "\n".join(_section(section) for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    notes = "".join(f"<li>{html.escape(note)}</li>\n" for note in section.notes)
    parts = [f"<h2>{html.escape(section.title)}</h2>", f"<ul>\n{notes}</ul>" if notes else ""]
    parts += [_table(table) for table in section.tables if table.rows and table.header[1:]]
    parts += [_figure(figure) for figure in section.figures]
    return "\n".join(parts)


def _table(table: Table) -> str:
    header = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in table.header)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    return (
        f"<figure><figcaption>{html.escape(table.caption)}</figcaption>"
        f'<div class="scroll"><table id="table_{html.escape(table.name)}">\n'
        f"<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div></figure>"
    )


def _figure(figure: Picture) -> str:
    data = base64.b64encode(figure.png).decode()
    name, caption = html.escape(figure.name), html.escape(figure.caption)
    return (
        f'<figure id="{name}"><div class="scroll">'
        f'<img src="data:image/png;base64,{data}" alt="{caption}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
