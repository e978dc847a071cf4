"""How a network says what its layers are and how they are joined: declared, not guessed from names.

Every linear, convolutional and normalization layer of this package calls `declare`, and `reads`
with its input; `networks/nonlinearity.py` names the units that come out of a layer. Outside of
`recording` all of this does nothing.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence

import haiku as hk
import jax

from core import types

_RECORDERS = threading.local()


class Recorder:
    """What a network declares while it is traced.

    Attributes:
      layers: in the order of their making.
      units: in the order of the network.
    """

    def __init__(self):
        """Nothing is declared yet."""
        self.layers: list[types.DeclaredLayer] = []
        self.units: list[types.DeclaredUnits] = []
        # By an array's id, kept so that no other array gets it: the units in it, each layer's with
        # the number of positions that each of them has along its last axis.
        self._sources: dict[int, tuple[jax.Array, dict[str, int]]] = {}

    def name_units(self, units: types.DeclaredUnits, x: jax.Array) -> None:
        """Says what units an array [B, ..., C] consists of."""
        if all(known.name != units.name for known in self.units):
            self.units.append(units)
        self._sources[id(x)] = (x, {units.name: 1})

    def carry(self, x: jax.Array, y: jax.Array) -> None:
        """Says that y [B, ...] holds the units of x [B, ..., C], at several positions each."""
        if id(x) not in self._sources:
            return
        times = y.shape[-1] // x.shape[-1]
        _, carried = self._sources.setdefault(id(y), (y, {}))
        for name, positions in self._sources[id(x)][1].items():
            carried[name] = positions * times

    def read(self, x: jax.Array, module: str) -> None:
        """Notes that a layer reads the units of an array, if it has any."""
        _, read = self._sources.get(id(x), (x, {}))
        for i, units in enumerate(self.units):
            reader = types.Reader(module, read.get(units.name, 0))
            if units.name in read and reader not in units.readers:
                self.units[i] = units._replace(readers=(*units.readers, reader))


@contextlib.contextmanager
def recording() -> Iterator[Recorder]:
    """Collects what is declared while a network is traced, by jax.eval_shape for example."""
    before = getattr(_RECORDERS, "found", None)
    _RECORDERS.found = found = Recorder()
    try:
        yield found
    finally:
        _RECORDERS.found = before


def _recorder() -> Recorder | None:
    return getattr(_RECORDERS, "found", None)


def declare(
    module: hk.Module,
    kind: types.LayerKind,
    weights: tuple[str, ...],
    biases: tuple[str, ...] = (),
    noise: tuple[str, ...] = (),
) -> None:
    """Says what a module's parameters are; see DeclaredLayer. A second call changes nothing."""
    found = _recorder()
    if found is None:
        return
    layer = types.DeclaredLayer(module.module_name, kind, weights, biases, noise)
    if layer not in found.layers:
        found.layers.append(layer)


def reads(module: hk.Module, x: jax.Array) -> None:
    """Says that a layer's input is x [B, ..., C]."""
    found = _recorder()
    if found is not None:
        found.read(x, module.module_name)


def name_units(name: str, x: jax.Array, modules: Sequence[hk.Module | None]) -> None:
    """Says that x [B, ..., C] are the units `name`, which these modules lead into."""
    found = _recorder()
    if found is not None:
        incoming = tuple(module.module_name for module in modules if module is not None)
        found.name_units(types.DeclaredUnits(name, incoming), x)


def carry(x: jax.Array, y: jax.Array) -> jax.Array:
    """Says that y, x pooled or flattened [B, positions * C], has the units of x; returns y.

    Said of several x, such as the factors of a product, y has the units of all of them.
    """
    found = _recorder()
    if found is not None:
        found.carry(x, y)
    return y
