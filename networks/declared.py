"""How a network says what its layers are: declared where they are made, not guessed from names.

Every linear, convolutional and normalization layer of this package calls `declare`. Outside of
`recording` that does nothing.
"""

import contextlib
import threading
from collections.abc import Iterator

import haiku as hk

from core import types

_RECORDERS = threading.local()


@contextlib.contextmanager
def recording() -> Iterator[list[types.DeclaredLayer]]:
    """Collects what is declared while a network is traced, by jax.eval_shape for example."""
    before = getattr(_RECORDERS, "found", None)
    _RECORDERS.found = found = []
    try:
        yield found
    finally:
        _RECORDERS.found = before


def declare(
    module: hk.Module,
    kind: types.LayerKind,
    weights: tuple[str, ...],
    biases: tuple[str, ...] = (),
    noise: tuple[str, ...] = (),
) -> None:
    """Says what a module's parameters are; see DeclaredLayer. A second call changes nothing."""
    found = getattr(_RECORDERS, "found", None)
    if found is None:
        return
    layer = types.DeclaredLayer(module.module_name, kind, weights, biases, noise)
    if layer not in found:
        found.append(layer)
