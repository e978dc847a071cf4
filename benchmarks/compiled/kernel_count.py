"""Kernels of a compiled program, what they move, and how long they may take.

The duration is a model: 1.2 us until a kernel starts, then its bytes at 2.4 TB/s but at least
0.8 us, and 2 us more for a matrix product or a convolution. The constants are of the order of an
H100's; what comes of them is no measurement.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from benchmarks.compiled import hlo

_GAP_US, _LEAST_US, _PRODUCT_US = 1.2, 0.8, 2.0
_BYTES_PER_US = 2.4e6

_NO_KERNELS = frozenset(
    (
        *("after-all", "bitcast", "constant", "get-tuple-element", "opt-barrier", "parameter"),
        *("partition-id", "replica-id", "tuple"),
        # What they do is counted in the computations that they call.
        *("call", "while", "conditional"),
    )
)
_SLICES = ("dynamic-slice", "gather", "slice")
# Change a part of their first operand in place: which operand is that part.
_IN_PLACE = {"dynamic-update-slice": 1, "scatter": 2}


class Counts(NamedTuple):
    """Of an update, or of a whole call.

    Attributes:
      kernels: that are started, copies among them.
      products: matrix products and convolutions among them.
      num_bytes: read and written.
      microseconds: by the model.
    """

    kernels: float = 0
    products: float = 0
    num_bytes: float = 0
    microseconds: float = 0

    def plus(self, other: "Counts", times: float = 1) -> "Counts":
        """The sum of both, the other taken several times."""
        return Counts(*(x + times * y for x, y in zip(self, other)))


def of_program(program: hlo.Program) -> Counts:
    """All kernels of a call, those of a loop's body once for each of its rounds."""
    return _of_computation(program, program.entry)


def of_update(program: hlo.Program) -> Counts:
    """The kernels of one round of the loop that has most: in `learn` an update.

    Raises:
      ValueError: if there is no loop.
    """
    loops = [
        _of_computation(program, x.called[0])
        for x in program.computations[program.entry].values()
        if x.opcode == "while"
    ]
    if not loops:
        raise ValueError("expected a program with a loop over updates")
    return max(loops)


def kernels(program: hlo.Program, computation: str) -> Iterator[hlo.Instruction]:
    """The instructions of a computation that are kernels, without those of what it calls."""
    for x in program.computations[computation].values():
        if x.opcode not in _NO_KERNELS and not x.opcode.endswith("-done"):
            yield x


def _of_computation(program: hlo.Program, name: str) -> Counts:
    total = Counts()
    for kernel in kernels(program, name):
        total = total.plus(_of_kernel(program, name, kernel))
    for x in program.computations[name].values():
        if x.opcode in ("call", "while"):
            total = total.plus(_of_computation(program, x.called[0]), x.trips)
        elif x.opcode == "conditional":
            # The branch with less to do is the usual one.
            total = total.plus(min(_of_computation(program, branch) for branch in x.called))
    return total


def _of_kernel(program: hlo.Program, computation: str, kernel: hlo.Instruction) -> Counts:
    is_product = _is_product(program, kernel)
    num_bytes = _bytes_of(program, computation, kernel)
    microseconds = _GAP_US + max(_LEAST_US, num_bytes / _BYTES_PER_US) + _PRODUCT_US * is_product
    return Counts(1, is_product, num_bytes, microseconds)


def _is_product(program: hlo.Program, kernel: hlo.Instruction) -> bool:
    if kernel.opcode in ("dot", "convolution"):
        return True
    if kernel.opcode == "custom-call":
        return kernel.target.startswith(("__cublas", "__cudnn"))
    return kernel.opcode == "fusion" and any(
        _is_product(program, x) for x in program.computations[kernel.called[0]].values()
    )


def _bytes_of(program: hlo.Program, computation: str, kernel: hlo.Instruction) -> float:
    known = program.computations[computation]
    if kernel.opcode != "fusion":
        operands = [known[name] for name in kernel.operands]
        if kernel.opcode in _IN_PLACE:
            return 2 * operands[_IN_PLACE[kernel.opcode]].num_bytes
        if kernel.opcode in _SLICES:
            return 2 * kernel.num_bytes
        return kernel.num_bytes + sum(x.num_bytes for x in operands)
    fused = program.computations[kernel.called[0]]
    read = sum(_read(fused, x) for x in fused.values() if x.opcode == "parameter")
    return read + sum(_written(fused, x) for x in fused.values() if x.is_root)


def _read(fused: Mapping[str, hlo.Instruction], x: hlo.Instruction) -> float:
    """Bytes that a fusion reads of a parameter, or of what is the same in memory."""
    parts = [_read_by(fused, x, user) for user in _users(fused, x.name)]
    return min(x.num_bytes, sum(parts))


def _read_by(fused: Mapping[str, hlo.Instruction], x: hlo.Instruction, user: hlo.Instruction):
    is_first = user.operands[0] == x.name
    if user.opcode == "bitcast":
        return _read(fused, user)
    if is_first and user.opcode in _SLICES:
        return user.num_bytes
    if is_first and user.opcode in _IN_PLACE:
        return 0
    return x.num_bytes


def _users(fused: Mapping[str, hlo.Instruction], name: str) -> list[hlo.Instruction]:
    return [x for x in fused.values() if name in x.operands]


def _written(fused: Mapping[str, hlo.Instruction], x: hlo.Instruction) -> float:
    """Bytes that a fusion writes of a result."""
    if x.opcode in ("tuple", "bitcast"):
        return sum(_written(fused, fused[name]) for name in x.operands)
    if x.opcode in _IN_PLACE:
        return fused[x.operands[_IN_PLACE[x.opcode]]].num_bytes
    return x.num_bytes
