"""Colours of arms and runs: one for each, however many there are."""

from matplotlib import colormaps, colors

_USUAL = 10


def colour(i: int, number: int) -> str:
    """Of the i-th of so many: the usual ten, then these in light; of a rainbow where it takes more.

    The first ten are the same for any number of up to twenty.
    """
    if i < _USUAL and number <= 2 * _USUAL:
        return f"C{i}"
    if number <= 2 * _USUAL:
        return colors.to_hex(colormaps["tab20"](2 * (i - _USUAL) + 1))
    return colors.to_hex(colormaps["turbo"]((i + 0.5) / number))
