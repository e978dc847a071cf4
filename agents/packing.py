"""The update of `value_based.Trainer` on a state of few arrays, for few kernels on a GPU.

All parameters lie in one array of rows, and so do the target's and both moments of Adam: clipping,
Adam, projection and the copy to the target are then each one pass, however many layers there are.
The numbers are those of `Trainer.update` up to the order of sums.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """Where the leaves of a tree lie in an array of rows: each begins a row, zeros fill its last.

    Attributes:
      treedef: of the tree.
      shapes: of its leaves, in order.
    """

    treedef: Any
    shapes: Sequence[tuple[int, ...]]

    @property
    def _num_rows(self) -> list[int]:
        return [-(-math.prod(shape) // _WIDTH) for shape in self.shapes]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the array."""
        return sum(self._num_rows), _WIDTH

    def owners(self, indices: Sequence[int]) -> np.ndarray:
        """Each row's index, int32 [rows], given one for each leaf."""
        return np.repeat(np.asarray(indices, np.int32), self._num_rows)

    def pack(self, tree: Any) -> jax.Array:
        """The array [rows, width] of a tree."""
        return jnp.concatenate([self._as_rows(leaf) for leaf in self.treedef.flatten_up_to(tree)])

    @staticmethod
    def _as_rows(leaf: jax.Array) -> jax.Array:
        flat = leaf.reshape(-1)
        return jnp.pad(flat, (0, -flat.size % _WIDTH)).reshape(-1, _WIDTH)

    def unpack(self, rows: jax.Array) -> Any:
        """The tree of an array; its gradient is `pack`ed, instead of a sum of padded leaves."""
        unpack = jax.custom_vjp(self._unpack)
        unpack.defvjp(lambda x: (self._unpack(x), None), lambda _, tree: (self.pack(tree),))
        return unpack(rows)

    def _unpack(self, rows: jax.Array) -> Any:
        ends = np.cumsum(self._num_rows)
        leaves = [
            rows[end - number : end].reshape(-1)[: math.prod(shape)].reshape(shape)
            for end, number, shape in zip(ends, self._num_rows, self.shapes)
        ]
        return jax.tree.unflatten(self.treedef, leaves)


@dataclasses.dataclass(frozen=True, eq=False)
class PackedTrainer:
    """A trainer's update on packed states.

    Attributes:
      trainer: of the agent, without interventions.
      layout: of its parameters.
      optimizer: of arrays of rows, without the projection.
      projected: what is projected, the layers in order.
      template: shapes of the packed optimizer's state.
    """

    trainer: value_based.Trainer
    layout: Layout
    optimizer: optax.GradientTransformationExtraArgs
    projected: Sequence[layers.Layer]
    template: Any

    def pack(self, state: types.TrainState) -> types.TrainState:
        """The state with its parameters, target and moments in arrays of rows."""
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
        parts = jax.tree.structure(self.template).flatten_up_to(chain)
        packed = [
            self.layout.pack(part) if self._is_rows(shape) else part
            for shape, part in zip(jax.tree.leaves(self.template), parts)
        ]
        chain = jax.tree.unflatten(jax.tree.structure(self.template), packed)
        if not self.projected:
            return chain
        radii = jnp.stack([state.projection.radii[layer.name] for layer in self.projected])
        return projection_lib.ProjectedState(chain, state.projection._replace(radii=radii))

    def _unpack_optimizer(self, state: Any) -> Any:
        chain = jax.tree.map(
            lambda x: self.layout.unpack(x) if self._is_rows(x) else x,
            state.inner if self.projected else state,
        )
        if not self.projected:
            return chain
        radii = dict(zip([x.name for x in self.projected], state.projection.radii))
        return projection_lib.ProjectedState(chain, state.projection._replace(radii=radii))

    def _is_rows(self, x: Any) -> bool:
        return x.shape == self.layout.shape

    def update(
        self,
        state: types.TrainState,
        rng: jax.Array,
        transition: types.Transition,
        weights: jax.Array,
    ) -> base.Updated:
        """Does an update on a batch; see base.Agent."""
        target_params = self.layout.unpack(state.target_params)

        def loss_of(rows):
            params = self.layout.unpack(rows)
            return self.trainer.loss(params, target_params, rng, transition, weights)

        (loss, output), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        params, opt_state = self._optimize(grads, state)
        num_updates = state.updates + 1
        # Not a branch, in which every array would be copied, due or not.
        is_due = num_updates % self.trainer.problem.target_period_updates == 0
        after = state._replace(
            params=params,
            target_params=jnp.where(is_due, params, state.target_params),
            opt_state=opt_state,
            updates=num_updates,
        )
        metrics = {
            **output.metrics,
            "loss": loss,
            "gradient_norm": optax.global_norm(grads),
            "learning_rate": optimizers.learning_rate(opt_state),
        }
        return base.Updated(after, output.priorities, metrics)

    def _optimize(self, grads: jax.Array, state: types.TrainState) -> tuple[jax.Array, Any]:
        """The parameters and the optimizer's state after an update."""
        if not self.projected:
            updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
            return state.params + updates, opt_state
        inner, projection = state.opt_state
        updates, inner = self.optimizer.update(grads, inner, state.params)
        params, projection = self._project(state.params + updates, projection)
        return params, projection_lib.ProjectedState(inner, projection)

    def _project(
        self, rows: jax.Array, state: projection_lib.ProjectionState
    ) -> tuple[jax.Array, projection_lib.ProjectionState]:
        """The rows with each layer on its sphere, as projection.project has it."""
        count = state.count + 1
        period = self.trainer.sections.optimizer.projection.period_updates
        is_due = True if period == 1 else count % period == 0
        owners, radii = self._owners, jnp.asarray(state.radii)
        squares = jnp.sum(jnp.square(rows), axis=1)
        is_own = owners[None] == np.arange(len(radii))[:, None]
        norms = jnp.sqrt(jnp.sum(jnp.where(is_own, squares[None], 0.0), axis=1))
        factors = radii / jnp.where(norms > 0, norms, 1)
        factors = jnp.where((norms > 0) & (radii > 0) & is_due, factors, 1)
        # Put together of runs of equal rows: looked up, they would be a kernel of their own.
        factors = jnp.concatenate([factors, jnp.ones(1)])  # the last is that of no layer
        ends = np.flatnonzero(np.diff(owners, append=-1)) + 1
        lengths = np.diff(ends, prepend=0)
        runs = [jnp.broadcast_to(factors[owners[e - 1]], n) for e, n in zip(ends, lengths)]
        of_rows = jnp.concatenate(runs)
        return rows * of_rows[:, None], state._replace(count=count)

    @property
    def _owners(self) -> np.ndarray:
        """The layer of each row, int32 [rows]; one more than the last for rows of none."""
        indices = {
            path: i for i, layer in enumerate(self.projected) for path in layer.leaves.values()
        }
        template = jax.tree.unflatten(self.layout.treedef, self.layout.shapes)
        is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
        paths = jax.tree_util.tree_flatten_with_path(template, is_leaf=is_shape)[0]
        names = [jax.tree_util.keystr(path) for path, _ in paths]
        return self.layout.owners([indices.get(name, len(self.projected)) for name in names])


def make(trainer: value_based.Trainer) -> base.Packed | None:
    """The trainer's update on packed states; None where it has parts that need a tree.

    Those are interventions, another optimizer than Adam, factors of single layers, and a projection
    that draws scales to their initial values or rescales moments.
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
    template = jax.eval_shape(optimizer.init, jax.ShapeDtypeStruct(layout.shape, jnp.float32))
    made = PackedTrainer(trainer, layout, optimizer, projected, template)
    return base.Packed(made.pack, made.unpack, made.update)


def _is_packable(trainer: value_based.Trainer, shapes: Sequence[Any]) -> bool:
    chosen = trainer.sections.optimizer
    return (
        not trainer.sections.interventions
        and chosen.name == "adam"
        and chosen.projection.scale_offset != "decay_to_init"
        and chosen.projection.moments == "keep"
        and not chosen.schedule.is_layer_wise
        and all(shape.dtype == jnp.float32 for shape in shapes)
    )
