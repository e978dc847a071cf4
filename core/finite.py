"""Numbers that are not finite end a run: whatever is learned from them is lost."""

import numpy as np


class NotFiniteError(RuntimeError):
    """A number that had to be finite is not; the message is one line that says which, and where.

    The run can't go on, and restarting it from its newest snapshot would fail in the same way.

    Attributes:
      index: of the number in its array; () if it isn't in an array.
    """

    def __init__(self, message: str, index: tuple[int, ...] = ()):
        super().__init__(message)
        self.index = index


def check(what: str, values: np.ndarray) -> None:
    """Checks that all numbers of an array are finite; integers and booleans always are.

    Args:
      what: the array, for the message, e.g. "reward of environment".
      values: any shape.

    Raises:
      NotFiniteError: naming the first index whose number is not finite, and the number.
    """
    # V: of ml_dtypes, such as bfloat16.
    if values.dtype.kind not in "fcV":
        return
    is_finite = np.isfinite(values)
    if is_finite.all():
        return
    index = tuple(int(i) for i in np.argwhere(~is_finite)[0])
    where = f" {list(index)}" if index else ""
    raise NotFiniteError(f"{what}{where} = {values[index]}: expected a finite number", index)
