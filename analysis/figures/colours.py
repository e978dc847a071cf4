"""Colours of arms and runs: one for each, however many there are."""

from matplotlib import colormaps, colors

_USUAL = 10


def colour(i: int, number: int) -> str:
    """Of the i-th of so many: one of the usual ten, or of a rainbow where those are too few."""
    if number <= _USUAL:
        return f"C{i}"
    return colors.to_hex(colormaps["turbo"]((i + 0.5) / number))
