"""Names of what is injected into a network, in its tree of parameters.

networks/injecting.py makes these modules; plasticity/interventions/ read them.
"""

import re
from typing import Literal

MODULE = "injection"
"""The module of the gates."""

GATE = re.compile(r"\['injection'\]\['gate_(?P<k>\d+)'\]$")
"""Found in a gate's path, with its number."""

LAYER = re.compile(r"^\['injection_(?P<k>\d+)_(?P<kind>new|old)/")
"""Matches the paths of injected layers' parameters."""


def gate(k: int) -> str:
    """The name of the gate of the k-th injection, from 1."""
    return f"gate_{k}"


def branch(k: int, kind: Literal["new", "old"]) -> str:
    """The module under which the k-th injection's new or old layers are, from 1."""
    return f"{MODULE}_{k}_{kind}"
