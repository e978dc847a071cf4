"""Batches in memory that two processes share."""

import math
import mmap
from typing import Any

import numpy as np

from replay import base
from replay.reverb.sampling import batches

# Aligns each field for the widest loads and stores.
_ALIGNMENT = 64


class Slots:
    """Room for a number of batches, used in turn: batch n is in slot n modulo their number.

    Nothing prevents both processes from using one slot at once.
    """

    def __init__(self, file: int, num_slots: int, spec: batches.BatchSpec):
        """Maps the memory.

        Args:
          file: descriptor of a file of `num_bytes` for these slots.
          num_slots: how many batches fit.
          spec: of each.
        """
        kind = _slot_dtype(spec)
        memory = mmap.mmap(file, num_slots * kind.itemsize)
        self._slots = np.ndarray(num_slots, kind, buffer=memory)
        self._names = frozenset(kind.names or ())

    def stacks(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The memory for s_tm1 and s_t of batch `number`, from 0."""
        slot = self._slot(number)
        return slot["s_tm1"], slot["s_t"]

    def put(self, number: int, batch: batches.DrawnBatch) -> None:
        """Writes a batch whose stacks are already in its slot's memory."""
        slot, fields = self._slot(number), batch.transition._asdict() | batch._asdict()
        for name in self._names - {"s_tm1", "s_t"}:
            slot[name] = fields[name]

    def copy(self, number: int) -> batches.DrawnBatch:
        """A copy of a batch that was put."""
        slot = self._slot(number)
        fields: dict[str, Any] = {name: slot[name].copy() for name in self._names}
        transition = base.Transition(*[fields.pop(name) for name in base.Transition._fields])
        table_size = int(fields.pop("table_size"))
        return batches.DrawnBatch(transition=transition, table_size=table_size, **fields)

    def _slot(self, number: int) -> Any:
        return self._slots[number % len(self._slots)]


def num_bytes(num_slots: int, spec: batches.BatchSpec) -> int:
    """The size of the memory for `num_slots` slots."""
    return num_slots * _slot_dtype(spec).itemsize


def _slot_dtype(spec: batches.BatchSpec) -> np.dtype:
    """A record of a batch's arrays."""
    size = (spec.batch_size,)
    fields = {
        "s_tm1": (np.dtype(spec.dtype), spec.stacks),
        "s_t": (np.dtype(spec.dtype), spec.stacks),
        "a_tm1": (np.dtype(np.int32), size),
        "r_t": (np.dtype(np.float32), size),
        "discount_t": (np.dtype(np.float32), size),
        "keys": (np.dtype(np.uint64), size),
        "probabilities": (np.dtype(np.float32), size),
        "weights": (np.dtype(np.float64), size),
        "table_size": (np.dtype(np.int64), ()),
    }
    sizes = [dtype.itemsize * math.prod(shape) for dtype, shape in fields.values()]
    ends = np.cumsum([-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes]).tolist()
    return np.dtype(
        {
            "names": list(fields),
            "formats": list(fields.values()),
            "offsets": [0, *ends[:-1]],
            "itemsize": ends[-1],
        }
    )
