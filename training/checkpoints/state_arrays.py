"""A learner's state as named arrays on the host, and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from core import finite
from replay import base as replay_base
from training.checkpoints import row_blocks, snapshot
from training.learning import replay_learner

State = replay_learner.LearnerState

_PARAMS = ".train.params"


def to_host(replay: replay_base.Replay, state: State) -> dict[str, np.ndarray]:
    """Copies all but the replay's large part to the host, by path."""
    return to_arrays(_without_rows(replay, state))


def to_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Copies a tree to the host, by path; typed keys as the integers they are made of."""
    # A copy even on a CPU, where a view would change with the next update.
    return {path: np.array(leaf) for path, leaf in by_path(tree).items()}


def from_arrays(path: Path, arrays: Mapping[str, np.ndarray], shapes: Any) -> Any:
    """The tree given to `to_arrays`, on the host except for typed keys.

    Args:
      path: the snapshot's directory, for messages.
      arrays: what `to_arrays` gave.
      shapes: the tree's shapes and types.

    Raises:
      SnapshotError: if names, shapes or types are not as expected.
    """
    snapshot.check_fits(path, by_path(jax.eval_shape(_raw_keys, shapes)), arrays)
    return jax.tree_util.tree_map_with_path(
        lambda key_path, shape: _leaf(arrays[jax.tree_util.keystr(key_path)], shape), shapes
    )


def check_same_shapes(path: Path, expected: Any, found: Any) -> None:
    """Checks that two trees of shapes have the same arrays.

    Raises:
      SnapshotError: naming the first that differs.
    """
    trees = (by_path(jax.eval_shape(_raw_keys, tree)) for tree in (expected, found))
    snapshot.check_fits(path, *trees)


def check_finite(arrays: Mapping[str, np.ndarray], what: str, first_seed: int) -> None:
    """Checks that all numbers of a state, or of a part of it, are finite.

    Args:
      arrays: what `to_host` or `to_arrays` gave; all but counts have an axis of seeds in front.
      what: the state, for the message, e.g. "learner".
      first_seed: the number of the first seed.

    Raises:
      NotFiniteError: naming array, seed, index and number.
    """
    for name, array in arrays.items():
        if array.dtype.kind in "fV":  # V: of ml_dtypes, such as bfloat16
            for k, of_seed in enumerate(array):
                finite.check(f"seed {first_seed + k}: {what}{name}", of_seed)


def copy_rows(
    replay: replay_base.Replay, state: State, earlier: Path | None
) -> row_blocks.RowBlocks:
    """The large part of the replay, as far as the snapshot `earlier` lacks it."""
    rows = replay.rows(state.replay)
    return row_blocks.RowBlocks.copy(rows.array, int(rows.num_rows), earlier)


def from_host(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    replay: replay_base.Replay,
    shapes: State,
) -> State:
    """Builds the state that a verified snapshot holds, on the default device.

    Args:
      path: the snapshot's directory, for the replay's large part and for messages.
      arrays: what `to_host` gave.
      replay: the learner's.
      shapes: the state's shapes and types (`jax.eval_shape` of its init).

    Raises:
      SnapshotError: if names, shapes or types are not this configuration's.
    """
    small = from_arrays(path, arrays, _without_rows(replay, shapes))
    array, num_rows = replay.rows(shapes.replay).array, int(replay.rows(small.replay).num_rows)
    blocks = row_blocks.RowBlocks(array.shape, np.dtype(array.dtype), num_rows, {})
    state = small._replace(replay=replay.with_rows(small.replay, blocks.read(path)))
    # Not told which device: a state that is bound to one has programs of its own to compile.
    return jax.device_put(state)


def params_to_arrays(params: Any) -> dict[str, np.ndarray]:
    """The parameters of all seeds alone, by the paths that `to_host` gives them."""
    return {f"{_PARAMS}{path}": array for path, array in to_arrays(params).items()}


def params_of_seed(
    path: Path, arrays: Mapping[str, np.ndarray], shapes: Any, seed_index: int
) -> Any:
    """The parameters of one seed out of what `to_host` gave.

    Args:
      path: the snapshot's directory, for messages.
      arrays: its group "learner".
      shapes: the parameters' shapes and types.
      seed_index: which seed, from 0.

    Raises:
      SnapshotError: if names, shapes or types are not as expected.
    """
    found = {
        name.removeprefix(_PARAMS): array[seed_index]
        for name, array in arrays.items()
        if name.startswith(_PARAMS)
    }
    snapshot.check_fits(path, by_path(shapes), found)
    leaf = lambda key_path, _: jax.numpy.asarray(found[jax.tree_util.keystr(key_path)])  # noqa: E731
    return jax.tree_util.tree_map_with_path(leaf, shapes)


def _leaf(value: Any, shape: Any) -> Any:
    """The value, as a typed key if the shape says so."""
    is_key = jax.dtypes.issubdtype(shape.dtype, jax.dtypes.prng_key)
    return jax.random.wrap_key_data(value) if is_key else value


def _without_rows(replay: replay_base.Replay, state: State) -> State:
    return state._replace(replay=replay.with_rows(state.replay, None))


def _raw_keys(tree: Any) -> Any:
    """Typed random keys as the integers they are made of."""

    def raw(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    return jax.tree.map(raw, tree)


def by_path(tree: Any) -> dict[str, Any]:
    """Leaves of a tree, or of its shapes, by path; typed keys as raw data, shapes as they are."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    found = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    return {
        path: leaf if isinstance(leaf, jax.ShapeDtypeStruct) else _raw_keys(leaf)
        for path, leaf in found.items()
    }
