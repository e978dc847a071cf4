"""Reads a scheduled program of XLA, as `jax.stages.Compiled.as_text` gives it."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

_ARRAY = re.compile(r"\b(pred|[suf]\d+|bf16|c\d+)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:calls|to_apply|body)=%([\w.\-]+)")
_BRANCHES = re.compile(
    r"\b(?:branch_computations=\{([^}]*)\}|(?:true|false)_computation=%([\w.\-]+))"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_NAME = re.compile(r"%([\w.\-]+)")
_TARGET = re.compile(r'custom_call_target="([^"]*)"')


class Instruction(NamedTuple):
    """One line of a computation.

    Attributes:
      name: unique in the program.
      opcode: "fusion", "copy", ...
      num_bytes: of its result, all of a tuple's parts together.
      operands: names of instructions.
      called: the computations of a fusion, call or loop body; the branches of a conditional.
      trips: of a loop, if the compiler knows; else 1.
      target: of a custom call; "" otherwise.
      is_root: whether it is the computation's result.
      text: the rest of the line.
    """

    name: str
    opcode: str
    num_bytes: int
    operands: tuple[str, ...]
    called: tuple[str, ...]
    trips: int
    target: str
    is_root: bool
    text: str


class Program(NamedTuple):
    """Computations by name, and the name of the first."""

    computations: Mapping[str, Mapping[str, Instruction]]
    entry: str


def parse(text: str) -> Program:
    """The program in a text.

    Raises:
      ValueError: if there is no entry computation in it.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if line.endswith("{") and " -> " in line:
            name = _NAME.search(line)
            assert name is not None, line
            current = computations.setdefault(name[1], {})
            entry = name[1] if line.startswith("ENTRY") else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and " = " in line:
            instruction = _parse_line(line)
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("expected a scheduled program of XLA with an entry computation")
    return Program(computations, entry)


def _parse_line(line: str) -> Instruction:
    left, _, right = line.strip().partition(" = ")
    is_root, name = left.startswith("ROOT "), left.removeprefix("ROOT ").removeprefix("%")
    end = _closing(right, 0) + 1 if right.startswith("(") else right.index(" ")
    shape, rest = right[:end], right[end:].lstrip()
    opening = rest.index("(")
    closing = _closing(rest, opening)
    attributes = rest[closing + 1 :]
    branches = [name for found in _BRANCHES.findall(attributes) for name in found if name]
    called = _CALLED.findall(attributes) + [b.strip(" %") for x in branches for b in x.split(",")]
    trips, target = _TRIPS.search(attributes), _TARGET.search(attributes)
    return Instruction(
        name=name,
        opcode=rest[:opening],
        num_bytes=array_bytes(shape),
        operands=tuple(_NAME.findall(rest[opening : closing + 1])),
        called=tuple(called),
        trips=int(trips[1]) if trips else 1,
        target=target[1] if target else "",
        is_root=is_root,
        text=rest,
    )


def _closing(text: str, opening: int) -> int:
    """The index of the parenthesis that closes the one at `opening`."""
    depth = 0
    for i in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if not depth:
            return i
    raise ValueError(f"no closing parenthesis: {text}")


def array_bytes(shape: str) -> int:
    """Bytes of an array's type as XLA writes it, such as f32[32,51]{1,0}, or of a tuple's parts."""
    return sum(
        math.prod(map(int, filter(None, sizes.split(",")))) * max(1, _bits(dtype) // 8)
        for dtype, sizes in _ARRAY.findall(shape)
    )


def _bits(dtype: str) -> int:
    return 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
