"""Many independent seeds in one program: an axis over the learner's state."""

from collections.abc import Callable
from typing import Any

import jax


def over_seeds(
    function: Callable[..., Any], num_seeds: int, in_axes: Any, out_axes: Any
) -> Callable[..., Any]:
    """Maps a function of one seed's state over a leading axis [K] of its arguments.

    With one seed the axis is removed and put back, which costs nothing, while vmap would
    turn slices into gathers and products into batched ones.

    Args:
      function: acts on one seed.
      num_seeds: K.
      in_axes: as for jax.vmap: 0, or None for what the seeds share, as prefixes of the arguments.
      out_axes: likewise for the result.
    """
    if num_seeds > 1:
        return jax.vmap(function, in_axes=in_axes, out_axes=out_axes)

    def of_one_seed(*arguments: Any) -> Any:
        arguments = _map_prefix(lambda x: x[0], in_axes, arguments)
        return _map_prefix(lambda x: x[None], out_axes, function(*arguments))

    return of_one_seed


def _map_prefix(function: Callable[[Any], Any], axes: Any, tree: Any) -> Any:
    """Applies `function` to the leaves of `tree` whose prefix in `axes` is 0, not None."""
    is_none = lambda axis: axis is None  # noqa: E731
    return jax.tree.map(
        lambda axis, part: part if axis is None else jax.tree.map(function, part),
        axes,
        tree,
        is_leaf=is_none,
    )
