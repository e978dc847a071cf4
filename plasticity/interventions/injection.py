"""Plasticity injection, once or several times (Nikishin et al. 2023, arXiv 2305.15555).

The network has what is injected from the start (`network.injection.times` and `scope`,
networks/injecting.py), behind gates that are shut. At each of `at_frames` the next gate opens in
the network and its target at once, which changes no output. From then on the newly injected layers
learn, and the torso where the scope is the head; the rest is frozen: it gets no gradient, which the
global clipping does not see either, no update, and nothing of other operations. Moments of the new
layers begin at 0, their bias correction too with optimizer.name = adam_ages. In `trigger` a metric
opens the next gate in place of a clock.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from core import checks, injected, settings, types
from plasticity import layers, moments
from plasticity.interventions import base

_NEVER = -1


@dataclasses.dataclass(frozen=True)
class Settings:
    """An item of `interventions`."""

    module: str = settings.key("injection", checks.one_of("injection"), "this intervention")
    at_frames: tuple[int, ...] = settings.key(
        (200_000_000 // 4,),
        checks.each(checks.integer(1)),
        "when each gate opens, in order, counted from the first update on; as many as "
        "network.injection.times, and none in a trigger",
        "Nikishin et al. 2023: 50M of 200M frames",
    )


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py.

    Raises:
      ConfigError: if the network has another number of gates, or the moments are not in order.
    """
    at = [round(frames / subject.frames_per_update) for frames in chosen.at_frames]
    _check(chosen, len(_gates(subject)), at)

    def moments_of(state):
        opened = [state.updates >= moment for moment in at]
        return opened, [state.updates == moment for moment in at]

    return _opening(subject, moments_of)


def when_asked(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """The same where every call opens the next gate; once all are open it does nothing.

    Raises:
      ConfigError: if the settings have moments of their own, or the network has no gate.
    """
    gates = _gates(subject)
    if chosen.at_frames or not gates:
        raise checks.ConfigError(
            f"interventions: trigger.operation.at_frames = {chosen.at_frames}: expected (), and "
            f"network.injection.times, which is {len(gates)}, of at least 1"
        )

    def next_of(state):
        leaves = layers.leaves_by_path(state.params)
        done = sum((leaves[path] for path in gates), start=jnp.zeros(()))
        numbers = [jnp.float32(k) for k in range(len(gates))]
        return [done >= k for k in numbers], [jnp.equal(done, k) for k in numbers]

    return _opening(subject, next_of)


def _gates(subject: base.Subject) -> list[str]:
    """Their paths, in the order in which they open."""
    found = filter(None, map(injected.GATE.search, layers.leaves_by_path(subject.shapes)))
    return [match.string for match in sorted(found, key=lambda match: int(match["k"]))]


def _opening(
    subject: base.Subject,
    decide: Callable[[types.TrainState], tuple[Sequence[jax.Array], Sequence[jax.Array]]],
) -> base.Intervention:
    """The intervention.

    Args:
      subject: the network.
      decide: (state) -> of each gate whether it is open now, and whether it is being opened.
    """
    gates, paths = _gates(subject), list(layers.leaves_by_path(subject.shapes))
    # When each leaf learns; those that always do are left out.
    phases = {path: phase for path in paths if (phase := _phase(path, paths)) is not None}

    def apply(state, own, rng, transition):
        del rng, transition
        opened, opening = decide(state)

        def open_one(path, x):
            # Those of a target that was kept at a reset stay open until the next copy.
            return jnp.maximum(x, opened[gates.index(path)].astype(x.dtype))

        def open_gates(params):
            return layers.map_leaves(open_one, params, gates)

        begins = {path: opening[phase - 1] for path, phase in phases.items() if phase > 0}
        after = state._replace(
            params=open_gates(state.params),
            target_params=open_gates(state.target_params),
            opt_state=moments.reset(state.opt_state, begins),
        )
        return after, own, {"injections": jnp.sum(jnp.stack(opened), dtype=jnp.float32)}

    def trainable(params):
        leaves = layers.leaves_by_path(params)
        done = jnp.sum(jnp.stack([leaves[path] for path in gates]))
        return {path: done == phase for path, phase in phases.items()}

    return base.Intervention(
        operation=base.Operation(lambda params: (), apply, resets_moments=True), trainable=trainable
    )


def _check(chosen: Settings, num_gates: int, at: Sequence[int]) -> None:
    if len(chosen.at_frames) != num_gates:
        raise checks.ConfigError(
            f"interventions: injection.at_frames = {chosen.at_frames}: expected as many moments "
            f"as network.injection.times, which is {num_gates}"
        )
    if list(at) != sorted(set(at)) or at[:1] == [0]:
        raise checks.ConfigError(
            f"interventions: injection.at_frames = {chosen.at_frames}: expected them in order, at "
            "least an update apart and from the start"
        )


def _phase(path: str, paths: Sequence[str]) -> int | None:
    """After how many injections a leaf learns: -1 for never, None for always."""
    if injected.GATE.search(path):
        return _NEVER
    if found := injected.LAYER.match(path):
        return int(found["k"]) if found["kind"] == "new" else _NEVER
    # Layers that are injected have a counterpart in the first branch.
    is_injected = path.replace("['", f"['{injected.branch(1, 'new')}/", 1) in paths
    return 0 if is_injected else None
