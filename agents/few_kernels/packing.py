"""The update of `value_based.Trainer` on a state of few arrays, for few kernels on a GPU.

All parameters lie in two arrays, and so do the target's and both moments of Adam: clipping, Adam,
projection and the copy to the target are then a pass over each, however many layers there are.
The numbers are those of `Trainer.update` up to the order of sums.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents import base, optimizers
from core import types
from plasticity import layers
from plasticity import projection as projection_lib

if TYPE_CHECKING:  # it imports this module
    from agents import value_based

_WIDTH = 128


class Arrays(NamedTuple):
    """A tree's leaves in two arrays.

    Attributes:
      large: [..., width], the leaves of the largest shape, one after another along the first axis,
        so that a product of all of them can read them as they are.
      rest: [rows, width], the others; each begins a row, zeros fill its last.
    """

    large: jax.Array
    rest: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """Where the leaves of a tree lie in `Arrays`.

    Attributes:
      treedef: of the tree.
      shapes: of its leaves, in order.
    """

    treedef: Any
    shapes: Sequence[tuple[int, ...]]

    @property
    def _parts(self) -> tuple[list[int], list[int]]:
        """Which leaves are in each of the arrays."""
        largest = max(self.shapes, key=math.prod)
        large = [i for i, shape in enumerate(self.shapes) if shape == largest]
        return large, [i for i in range(len(self.shapes)) if i not in large]

    @property
    def template(self) -> Arrays:
        """The arrays' shapes and types."""
        leaves = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in self.shapes]
        return jax.eval_shape(self.pack, jax.tree.unflatten(self.treedef, leaves))

    def owners(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The index of each row of both arrays, given one for each leaf."""
        numbers, (large, rest) = np.asarray(indices, np.int32), self._parts
        lengths = [_num_rows(self.shapes[i]) for i in rest]
        num_large = math.prod(self.shapes[large[0]][:-1])
        return np.repeat(numbers[large], num_large), np.repeat(numbers[rest], lengths)

    def pack(self, tree: Any) -> Arrays:
        """The arrays of a tree."""
        leaves, (large, rest) = self.treedef.flatten_up_to(tree), self._parts
        rows = [jnp.zeros((0, _WIDTH)), *(self._as_rows(leaves[i]) for i in rest)]
        return Arrays(
            jnp.concatenate([leaves[i].reshape(-1, leaves[i].shape[-1]) for i in large]),
            jnp.concatenate(rows),
        )

    @staticmethod
    def _as_rows(leaf: jax.Array) -> jax.Array:
        flat = leaf.reshape(-1)
        return jnp.pad(flat, (0, -flat.size % _WIDTH)).reshape(-1, _WIDTH)

    def unpack(self, packed: Arrays) -> Any:
        """The tree of the arrays; its gradient is `pack`ed, instead of a sum of padded leaves."""
        unpack = jax.custom_vjp(self._unpack)
        unpack.defvjp(lambda x: (self._unpack(x), None), lambda _, tree: (self.pack(tree),))
        return unpack(packed)

    def _unpack(self, packed: Arrays) -> Any:
        large, rest = self._parts
        leaves: list[Any] = [None] * len(self.shapes)
        # Slices along the first axis, which the compiler sees through where they are joined again.
        for i, leaf in zip(large, jnp.split(packed.large, len(large))):
            leaves[i] = leaf.reshape(self.shapes[i])
        ends = np.cumsum([_num_rows(self.shapes[i]) for i in rest])
        for i, end in zip(rest, ends):
            shape = self.shapes[i]
            rows = packed.rest[end - _num_rows(shape) : end]
            leaves[i] = rows.reshape(-1)[: math.prod(shape)].reshape(shape)
        return jax.tree.unflatten(self.treedef, leaves)


def _num_rows(shape: tuple[int, ...]) -> int:
    """That a leaf takes up."""
    return -(-math.prod(shape) // _WIDTH)


def _is_packed(part: Any) -> bool:
    return isinstance(part, Arrays)


@dataclasses.dataclass(frozen=True, eq=False)
class PackedTrainer:
    """A trainer's update on packed states.

    Attributes:
      trainer: of the agent, without interventions.
      layout: of its parameters.
      optimizer: of packed arrays, without the projection.
      projected: what is projected, the layers in order.
      template: shapes of the packed optimizer's state.
    """

    trainer: value_based.Trainer
    layout: Layout
    optimizer: optax.GradientTransformationExtraArgs
    projected: Sequence[layers.Layer]
    template: Any

    def pack(self, state: types.TrainState) -> types.TrainState:
        """The state with its parameters, target and moments packed."""
        return state._replace(
            params=self.layout.pack(state.params),
            target_params=self.layout.pack(state.target_params),
            opt_state=self._pack_optimizer(state.opt_state),
        )

    def unpack(self, state: types.TrainState) -> types.TrainState:
        """The state as `Trainer` has it."""
        return state._replace(
            params=self.layout.unpack(state.params),
            target_params=self.layout.unpack(state.target_params),
            opt_state=self._unpack_optimizer(state.opt_state),
        )

    def _pack_optimizer(self, state: Any) -> Any:
        chain = state.inner if self.projected else state
        expected, structure = jax.tree.flatten(self.template, is_leaf=_is_packed)
        packed = [
            self.layout.pack(part) if _is_packed(shape) else part
            for shape, part in zip(expected, structure.flatten_up_to(chain))
        ]
        chain = jax.tree.unflatten(structure, packed)
        if not self.projected:
            return chain
        radii = jnp.stack([state.projection.radii[layer.name] for layer in self.projected])
        return projection_lib.ProjectedState(chain, state.projection._replace(radii=radii))

    def _unpack_optimizer(self, state: Any) -> Any:
        chain = jax.tree.map(
            lambda x: self.layout.unpack(x) if _is_packed(x) else x,
            state.inner if self.projected else state,
            is_leaf=_is_packed,
        )
        if not self.projected:
            return chain
        radii = dict(zip([x.name for x in self.projected], state.projection.radii))
        return projection_lib.ProjectedState(chain, state.projection._replace(radii=radii))

    def update(
        self,
        state: types.TrainState,
        rng: jax.Array,
        transition: types.Transition,
        weights: jax.Array,
    ) -> base.Updated:
        """Does an update on a batch; see base.Packed."""
        target_params = self.layout.unpack(state.target_params)

        def loss_of(packed):
            params = self.layout.unpack(packed)
            return self.trainer.loss(params, target_params, rng, transition, weights)

        (loss, output), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        params, opt_state = self._optimize(grads, state)
        after = state._replace(params=params, opt_state=opt_state, updates=state.updates + 1)
        metrics = {
            **output.metrics,
            "loss": loss,
            "gradient_norm": optax.global_norm(grads),
            "learning_rate": optimizers.learning_rate(opt_state),
        }
        return base.Updated(after, output.priorities, metrics)

    def copy_target(self, state: types.TrainState) -> types.TrainState:
        """The state after an update with the target network's copy, if it is due."""
        # Not a branch, in which every array would be copied, due or not.
        is_due = state.updates % self.trainer.problem.target_period_updates == 0
        choose = lambda new, old: jnp.where(is_due, new, old)  # noqa: E731
        return state._replace(target_params=jax.tree.map(choose, state.params, state.target_params))

    def _optimize(self, grads: Arrays, state: types.TrainState) -> tuple[Arrays, Any]:
        """The parameters and the optimizer's state after an update."""
        inner, projection = state.opt_state if self.projected else (state.opt_state, None)
        updates, inner = self.optimizer.update(grads, inner, state.params)
        params = jax.tree.map(jnp.add, state.params, updates)
        if projection is None:
            return params, inner
        params, projection = self._project(params, projection)
        return params, projection_lib.ProjectedState(inner, projection)

    def _project(
        self, packed: Arrays, state: projection_lib.ProjectionState
    ) -> tuple[Arrays, projection_lib.ProjectionState]:
        """The parameters with each layer on its sphere, as projection.project has it."""
        count = state.count + 1
        period = self.trainer.sections.optimizer.projection.period_updates
        is_due = True if period == 1 else count % period == 0
        radii = jnp.asarray(state.radii)
        owners = self._owners
        norms = jnp.sqrt(sum(map(self._squares, packed, owners)))
        factors = radii / jnp.where(norms > 0, norms, 1)
        factors = jnp.where((norms > 0) & (radii > 0) & is_due, factors, 1)
        factors = jnp.concatenate([factors, jnp.ones(1)])  # the last is that of no layer
        projected = (x * _of_rows(factors, own)[:, None] for x, own in zip(packed, owners))
        return Arrays(*projected), state._replace(count=count)

    def _squares(self, rows: jax.Array, owners: np.ndarray) -> jax.Array:
        """The sum of squares of each layer, [layers]."""
        squares = jnp.sum(jnp.square(rows), axis=1)
        is_own = owners[None] == np.arange(len(self.projected))[:, None]
        return jnp.sum(jnp.where(is_own, squares[None], 0.0), axis=1)

    @property
    def _owners(self) -> tuple[np.ndarray, np.ndarray]:
        """The layer of each row of both arrays, int32; one more than the last for rows of none."""
        indices = {
            path: i for i, layer in enumerate(self.projected) for path in layer.leaves.values()
        }
        template = jax.tree.unflatten(self.layout.treedef, self.layout.shapes)
        is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
        paths = jax.tree_util.tree_flatten_with_path(template, is_leaf=is_shape)[0]
        names = [jax.tree_util.keystr(path) for path, _ in paths]
        return self.layout.owners([indices.get(name, len(self.projected)) for name in names])


def _of_rows(factors: jax.Array, owners: np.ndarray) -> jax.Array:
    """Each row's factor [rows]; looked up, they would be a kernel of their own."""
    ends = np.flatnonzero(np.diff(owners, append=-1)) + 1
    lengths = np.diff(ends, prepend=0)
    runs = [jnp.broadcast_to(factors[owners[e - 1]], n) for e, n in zip(ends, lengths)]
    return jnp.concatenate([jnp.zeros(0), *runs])


def make(trainer: value_based.Trainer) -> base.Packed | None:
    """The trainer's update on packed states; None where it has parts that need a tree.

    Those are interventions, another optimizer than Adam, Adam without eps or with moments of
    another type, factors of single layers, and a projection that draws scales to their initial
    values or rescales moments.
    """
    chosen, problem = trainer.sections.optimizer, trainer.problem
    shapes = jax.eval_shape(trainer.init_params, jax.random.key(0), problem.observations)
    if not _is_packable(trainer, jax.tree.leaves(shapes)):
        return None
    layout = Layout(jax.tree.structure(shapes), [x.shape for x in jax.tree.leaves(shapes)])
    projected: Sequence[layers.Layer] = ()
    if chosen.projection.enabled:
        projection = projection_lib.Projection(chosen.projection, lambda _: trainer.declared.layers)
        projected = projection_lib.projected_layers(shapes, projection)
    free = dataclasses.replace(chosen, projection=projection_lib.ProjectionSettings())
    optimizer = optimizers.make(free, problem.update_period_frames, lambda _: ())
    template = jax.eval_shape(optimizer.init, layout.template)
    made = PackedTrainer(trainer, layout, optimizer, projected, template)
    period = problem.target_period_updates
    return base.Packed(made.pack, made.unpack, made.update, made.copy_target, period)


def _is_packable(trainer: value_based.Trainer, shapes: Sequence[Any]) -> bool:
    chosen = trainer.sections.optimizer
    return (
        not trainer.sections.interventions
        and chosen.name == "adam"
        and chosen.projection.scale_offset != "decay_to_init"
        and chosen.projection.moments == "keep"
        and not chosen.schedule.is_layer_wise
        # Moments of another type would need arrays of their own; without eps, what fills a row
        # would become 0 / 0.
        and not chosen.argument("mu_dtype")
        and chosen.argument("eps") > 0
        and all(shape.dtype == jnp.float32 for shape in shapes)
    )
