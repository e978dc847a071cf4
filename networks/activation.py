"""Nonlinearities, and a way to record the units before and after them."""

import contextlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

import haiku as hk
import jax

_RECORDERS = threading.local()


class Units(NamedTuple):
    """The units [B, ..., C] of a layer before and after its nonlinearity."""

    pre: jax.Array
    post: jax.Array


@contextlib.contextmanager
def recording() -> Iterator[dict[str, Units]]:
    """Collects, by name, the units of a network applied within the context.

    They are values of the trace that applies it: use or return them within that trace.
    """
    before = getattr(_RECORDERS, "found", None)
    _RECORDERS.found = found = {}
    try:
        yield found
    finally:
        _RECORDERS.found = before


def activate(x: jax.Array, name: str) -> jax.Array:
    """ReLU of pre-activations [B, ..., C] of the layer `name`, which is unique in its module."""
    post = jax.nn.relu(x)
    found = getattr(_RECORDERS, "found", None)
    if found is not None:
        scope = hk.experimental.current_name()
        found[name if scope == "~" else f"{scope}/{name}"] = Units(x, post)
    return post
