"""The learning-rate decay that a free run's growing norms imply, replayed in a projected run.

For a layer followed by a norm, the effective learning rate is lr / ||W|| (Adam) or lr / ||W||^2
(SGD). A projected run with lr (||W(0)|| / ||W(t)||)^power, power 1 or 2, has that of the free
run whose ||W(t)|| were recorded: exactly per layer, nearly with one global ratio
(Lyle et al. 2024, arXiv 2407.01800; van Laarhoven 2017, arXiv 1706.05350).
"""

import csv
import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import optax

from core import checks, durable_files
from plasticity import layers
from plasticity import projection as projection_lib

FILE_KEY = "optimizer.schedule.norms_file"


@dataclasses.dataclass(frozen=True)
class RecordedNorms:
    """Norms of a run's layers over time.

    Attributes:
      names: the layers, as `projection.selected_layers` calls them.
      updates: int [T], updates done when the norms were taken, from 0 on, increasing.
      norms: float [T, L], norms > 0.
    """

    names: tuple[str, ...]
    updates: np.ndarray
    norms: np.ndarray

    @classmethod
    def load(cls, path: str) -> "RecordedNorms":
        """Reads a CSV file written with `append_row`.

        Where a resumed run repeated some updates, the later rows count.

        Args:
          path: the file: a header "updates,<layer>,...", then one row per record.

        Raises:
          ConfigError: if there is no such file, its format is wrong, a norm is not a number > 0,
            or it does not begin at update 0 and have at least two rows.
        """
        header, *rows = _read(path)
        if header[0] != "updates" or len(header) < 2 or len(set(header)) < len(header):
            _raise(path, f"expected a header 'updates,<layer>,...', found {','.join(header)!r}")
        kept: list[list[float]] = []
        for number, row in enumerate(rows, start=2):
            values = _parse(path, number, row, len(header))
            while kept and kept[-1][0] >= values[0]:
                kept.pop()
            kept.append(values)
        if len(kept) < 2 or kept[0][0] != 0:
            _raise(path, f"expected two rows or more, the first of update 0, found {len(kept)}")
        table = np.array(kept)
        return cls(tuple(header[1:]), table[:, 0].astype(np.int64), table[:, 1:])

    def at(self, count: jax.Array) -> jax.Array:
        """Norms [L] after `count` updates: linear between records, the last one after the end."""
        updates = jnp.asarray(self.updates, jnp.int32)
        norms = jnp.asarray(self.norms)
        right = jnp.clip(jnp.searchsorted(updates, count, side="right"), 1, len(updates) - 1)
        start, end = updates[right - 1], updates[right]
        # Integer differences: float32 can't tell updates apart beyond 2^24.
        weight = ((count - start) / (end - start)).astype(norms.dtype)
        weight = jnp.clip(weight, 0, 1)
        return (1 - weight) * norms[right - 1] + weight * norms[right]


def append_row(path: str, updates: int, norms: Mapping[str, Any]) -> None:
    """Appends a record to a norms file, with the header if the file is new.

    Args:
      path: the CSV file.
      updates: updates done.
      norms: by layer, scalars: `layer_metrics.layer_norms` of `projection.selected_layers`; the
        same layers in the same order at every call.

    Raises:
      ConfigError: if the file's header names other layers.
    """
    header = ["updates", *norms]
    durable_files.drop_torn_line(Path(path))
    with open(path, "a+", newline="", encoding="utf-8") as stream:
        stream.seek(0)
        found = next(csv.reader(stream), [])
        if found not in ([], header):
            _raise(path, f"holds norms of other layers: {', '.join(found[1:])}")
        # In this mode everything is written at the end, wherever the reading stopped.
        writer = csv.writer(stream)
        if not found:
            writer.writerow(header)
        writer.writerow([updates, *(repr(float(norm)) for norm in norms.values())])


def global_factor(recorded: RecordedNorms, power: int) -> optax.Schedule:
    """The schedule (total initial norm / total norm)^power, total norm = sqrt(sum ||W||^2).

    Args:
      recorded: the free run's norms.
      power: 1 for Adam and other optimizers blind to the gradient's scale, 2 for SGD.
    """
    initial = math.sqrt(float(np.sum(np.square(recorded.norms[0]))))

    def schedule(count):
        return (initial / jnp.sqrt(jnp.sum(jnp.square(recorded.at(count))))) ** power

    return schedule


LayerFactors = Callable[[Any], dict[str, jax.Array]]
"""From updates done to a scalar factor for each layer that has one, by name."""


def layer_factors(recorded: RecordedNorms, power: int) -> LayerFactors:
    """(initial norm / norm)^power of each layer. Arguments as for `global_factor`."""

    def factors(count):
        growth = (jnp.asarray(recorded.norms[0]) / recorded.at(count)) ** power
        return dict(zip(recorded.names, growth))

    return factors


class NormGrowthState(NamedTuple):
    """Updates done, an int32 scalar, and each layer's factor in the last of them."""

    count: jax.Array
    factors: dict[str, jax.Array]


def scale_by_norm_growth(
    recorded: RecordedNorms,
    power: int,
    projection: projection_lib.Projection,
    layer_wise: bool = True,
) -> optax.GradientTransformation:
    """Scales updates by (initial norm / norm)^power as recorded, for use inside `project`.

    The free run is reproduced exactly if the layers are projected in every update with moments
    rescaled, gradients are not clipped, nothing is added to them or to their roots (Adam's
    epsilon, weight decay), and the norms were recorded after every update.

    Args:
      recorded: the free run's norms.
      power: 1 for Adam and other optimizers blind to the gradient's scale, 2 for SGD.
      projection: says which leaves are a layer.
      layer_wise: each projected layer gets its own factor and the other leaves none; otherwise
        all leaves get the global factor.

    Raises:
      ConfigError: from `init`, if the record's layers are not the projected ones.
    """
    if not layer_wise:
        return optax.scale_by_schedule(global_factor(recorded, power))
    growth = layer_factors(recorded, power)

    def init(params):
        _check_layers(recorded, projection_lib.projected_layers(params, projection))
        count = jnp.zeros((), jnp.int32)
        return NormGrowthState(count, growth(count))

    def update(updates, state, params=None):
        del params
        by_name = growth(state.count)
        groups = projection_lib.projected_layers(updates, projection)
        factors = {p: by_name[group.name] for group in groups for p in group.leaves.values()}
        return layers.scale_leaves(updates, factors), NormGrowthState(state.count + 1, by_name)

    return optax.GradientTransformation(init, update)


def _check_layers(recorded: RecordedNorms, groups: list[layers.Layer]) -> None:
    names = [group.name for group in groups]
    missing = [name for name in names if name not in recorded.names]
    unknown = [name for name in recorded.names if name not in names]
    if missing or unknown:
        what = f"no column for the projected layer {missing[0]!r}" if missing else ""
        what = what or f"column {unknown[0]!r} is not a projected layer"
        raise checks.ConfigError(
            f"{FILE_KEY}: {what}; projected: {', '.join(names)}; "
            f"recorded: {', '.join(recorded.names)}"
        )


def _read(path: str) -> list[list[str]]:
    """The rows of a CSV file, header first."""
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError) as error:
        _raise(path, f"can't be read ({error})")
    if not rows or not rows[0]:
        _raise(path, "expected a header 'updates,<layer>,...', found nothing")
    return rows


def _parse(path: str, number: int, row: list[str], width: int) -> list[float]:
    """A row's numbers: an update count, then norms > 0."""
    try:
        values = [float(int(row[0])), *map(float, row[1:])]
    except (ValueError, IndexError):
        values = []
    is_good = len(values) == width and values[0] >= 0
    if not is_good or not all(0 < norm < math.inf for norm in values[1:]):
        _raise(path, f"line {number}: expected an update count and {width - 1} norms > 0")
    return values


def _raise(path: str, problem: str) -> NoReturn:
    raise checks.ConfigError(f"{FILE_KEY} = {path!r}: {problem}")
