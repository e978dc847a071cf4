"""What is measured of a learner on transitions drawn uniformly from its replay."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax

from agents import base as agents_base
from training.learning import replay_learner, seeds

Metrics = replay_learner.Metrics

_NETWORK_PROBE_SIZE = 64
"""Transitions on which gradients are compared one by one (Lyle et al. 2024, 2402.18762)."""


@dataclasses.dataclass(frozen=True, eq=False)
class ProbeMeasurements:
    """Compiled once, used for any state; none of them changes it.

    Attributes:
      learner: whose state is measured.
      probe_size: observations on which units and ranks are measured.
    """

    learner: replay_learner.Learner
    probe_size: int

    @functools.cached_property
    def units(self):
        """(state) -> {quantity: {layer: [K]}}, as agents.base.Agent's. Jitted."""
        return self._of_params(self.learner.agent.measure_units)

    @functools.cached_property
    def ranks(self):
        """(state) -> {quantity: {layer: [K]}}, as agents.base.Agent's. Jitted."""
        return self._of_params(self.learner.agent.measure_ranks)

    @functools.cached_property
    def network(self):
        """(state) -> {quantity: [K]}, as agents.base.Agent's. Jitted."""
        learner, measure_one = self.learner, self.learner.agent.measure_network
        assert measure_one is not None, "checked when the run was put together"

        def measure(state: replay_learner.LearnerState) -> Metrics:
            rng_batch, rng_probe, rng_loss = jax.random.split(agents_base.apart(state.rng, 2), 3)
            batch = learner.replay.sample(state.replay, rng_batch, learner.batch_size)
            weights = learner.weights(state, batch)
            probe = learner.replay.sample_uniform(state.replay, rng_probe, _NETWORK_PROBE_SIZE)
            train = learner.packed.unpack(state.train)
            return measure_one(train, rng_loss, batch.transition, weights, probe.transition)

        return self._over_seeds(measure)

    def _of_params(self, measure: Callable[..., Mapping[str, Metrics]] | None):
        assert measure is not None, "checked when the run was put together"

        def on_probe(state: replay_learner.LearnerState) -> Mapping[str, Metrics]:
            rng_sample, rng_apply = jax.random.split(agents_base.apart(state.rng, 1))
            replay = self.learner.replay
            sample = replay.sample_uniform(state.replay, rng_sample, self.probe_size)
            params = self.learner.packed.unpack(state.train).params
            return measure(params, rng_apply, sample.transition.s_tm1)

        return self._over_seeds(on_probe)

    def _over_seeds(self, measure: Callable[[replay_learner.LearnerState], Any]):
        learner = self.learner
        return jax.jit(seeds.over_seeds(measure, learner.num_seeds, (learner.axes,), 0))

    def observations(
        self, state: replay_learner.LearnerState, rng: jax.Array, number: int
    ) -> jax.Array:
        """What agents saw at `number` transitions drawn uniformly, [K, number, ...]."""

        def draw(state: replay_learner.LearnerState) -> jax.Array:
            replay = self.learner.replay
            return replay.sample_uniform(state.replay, rng, number).transition.s_tm1

        return self._over_seeds(draw)(state)
