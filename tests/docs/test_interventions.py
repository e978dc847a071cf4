"""The page on interventions, beside the interventions that there are."""

import re

from core import plugins, settings
from plasticity.interventions import base
from tests.docs import pages

_PAGE = (pages.DOCS / "interventions.md").read_text()


def _rows(headings: str) -> list[list[str]]:
    """The cells of the table with these headings."""
    (table,) = re.findall(rf"^\| {headings} \|\n\|[-|]+\|\n((?:\|.*\n)+)", _PAGE, re.M)
    return [re.split(r"(?<!\\)\|", row)[1:-1] for row in table.splitlines()]


def test_both_tables_have_every_intervention():
    names = set(plugins.names(base.PACKAGE))
    for headings in (r"module \| kind \| .*", r"module \| keys and defaults \| .*"):
        assert {row[0].strip(" `") for row in _rows(headings)} == names


def test_every_key_is_told_with_its_default():
    for module, told, cost, company in _rows(r"module \| keys and defaults \| .*"):
        found = plugins.find(base.PACKAGE, module.strip(" `"), "interventions")
        keys = {
            row.path.partition(".")[2]: repr(row.default)
            for row in settings.rows(found.Settings, "item")
        }
        del keys["module"]
        assert dict(re.findall(r"`(\S+) = ([^`]*)`", told.replace("\\|", "|"))) == keys, module
        assert re.match(r" \d+\.\d\d", cost), module
        assert company.strip(), module
