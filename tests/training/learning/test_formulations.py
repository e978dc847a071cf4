"""An update written otherwise does what the plain one does, up to rounding."""

import re

import jax
import numpy as np
import pytest

from configs import rainbow_nap
from core import checks, formulations
from training.checkpoints import state_arrays
from training.learning import plain_state, replay_learner

_CHANGES = {
    # The target network is copied twice, at an update that is not the last of a call.
    "training.update_period_frames": 16,
    "training.target_update_period_frames": 16 * 3,
    "optimizer.learning_rate": 1e-2,
    # Gradients are clipped.
    "optimizer.max_gradient_norm": 0.05,
    "optimizer.schedule.name": "linear",
    "optimizer.schedule.duration": 10,
}


def _learn(make_learner, random_steps, formulation, calls=(2, 2, 4)):
    """A learner of two seeds, its plain state after `calls` of updates on random data, metrics."""
    changes = {**_CHANGES, "formulation": formulation, "num_seeds": 2}
    learner = make_learner(rainbow_nap.get_config, changes)
    state = None
    for steps in zip(*(random_steps(k, 15, learner.num_envs) for k in range(2))):
        step = jax.tree.map(lambda *xs: np.stack(xs), *steps)
        state = learner.init(0, step.observation) if state is None else state
        # With given actions: those of equal parameters may differ where two are as good.
        state = learner.record(state, jax.tree.map(lambda x: x[:, None], step))
    metrics, done = [], 0
    for num_updates in calls:
        copies = learner.copies_within(done, num_updates)
        state, found = learner.learn(state, num_updates, copies)
        metrics.append(found)
        done += num_updates
    return learner, plain_state.plain(learner, state), metrics


@pytest.mark.parametrize(
    "formulation", ["compute_once", "few_kernels"] + ["pallas"] * formulations.has_pallas()
)
def test_other_formulations_give_the_same_training(make_learner, random_steps, formulation):
    """Losses, gradients (as norms, and in the moments), parameters, priorities, random keys."""
    plain, expected, metrics = _learn(make_learner, random_steps, "reference")
    other, found, other_metrics = _learn(make_learner, random_steps, formulation)
    assert plain.agent.packed is None
    assert (other.agent.packed is None) == (formulation == "compute_once")
    assert jax.tree.structure(expected) == jax.tree.structure(found)
    assert int(found.train.updates) == 8
    assert (found.rng == expected.rng).all()
    close = lambda x, y: np.testing.assert_allclose(  # noqa: E731
        np.asarray(x, np.float64), y, rtol=2e-3, atol=2e-4 * max(1e-6, np.abs(y).max())
    )
    jax.tree.map(close, other_metrics, metrics)
    jax.tree.map(close, *(x._replace(rng=None) for x in (found, expected)))
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), *found.train[:2])
    assert all(value > 0 for value in jax.tree.leaves(moved))


def test_computed_once_single_updates_are_those_of_one_call(make_learner, random_steps):
    _, expected, of_all = _learn(make_learner, random_steps, "reference", calls=(4,))
    _, found, of_each = _learn(make_learner, random_steps, "compute_once", calls=(1, 1, 1, 1))
    assert int(found.train.updates) == 4
    assert (found.rng == expected.rng).all()
    losses = [each["loss"] for each in of_each]
    np.testing.assert_allclose(np.mean(losses, axis=0), of_all[0]["loss"], rtol=1e-4)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-4)  # noqa: E731
    jax.tree.map(close, found.train, expected.train)


def test_only_calls_with_a_copy_of_the_target_look_for_it(make_learner):
    """It is due every three updates. Agents without packed states look at every update."""
    learner = make_learner(rainbow_nap.get_config, {**_CHANGES, "formulation": "few_kernels"})
    calls = [(0, 2), (2, 1), (3, 2), (3, 3), (4, 8)]
    assert [learner.copies_within(*call) for call in calls] == [False, True, False, True, True]
    plain = make_learner(rainbow_nap.get_config, {**_CHANGES, "formulation": "reference"})
    assert all(plain.copies_within(*call) for call in calls)


@pytest.mark.parametrize("num_updates", [1, 2])
def test_computed_once_a_call_copies_no_parameters_or_moments(make_learner, num_updates):
    """XLA would copy all moments in a call of one update, if that were not a loop."""
    learner = make_learner(rainbow_nap.get_config, {"formulation": "compute_once"})
    state = jax.eval_shape(lambda x: learner.init(0, x), np.zeros((1, 2, 36, 36), np.uint8))
    text = learner.learn.lower(state, num_updates).compile().as_text()
    outside_the_loop = text[text.index("\nENTRY") :]
    shapes = re.findall(r" f32\[([\d,]*)\]\S* copy\(", outside_the_loop)
    sizes = [np.prod([int(size) for size in shape.split(",") if size]) for shape in shapes]
    assert max(sizes, default=0) < 8  # the least array of parameters


@pytest.mark.skipif(not formulations.has_pallas(), reason="this JAX has no Pallas for it")
def test_three_steps_are_written_by_hand(make_learner):
    learner = make_learner(rainbow_nap.get_config, {"formulation": "pallas", "num_seeds": 2})
    state = jax.eval_shape(lambda x: learner.init(0, x), np.zeros((2, 2, 36, 36), np.uint8))
    text = str(learner.learn.trace(state, 1).jaxpr)
    # Each for a GPU and for a CPU.
    assert text.count("= pallas_call[") == 2 * 3


def test_without_pallas_it_is_refused(monkeypatch):
    monkeypatch.setattr(formulations, "has_pallas", lambda: False)
    with pytest.raises(checks.ConfigError, match=r"^formulation = 'pallas': expected another"):
        formulations.resolve("pallas", "gpu")


def test_what_a_network_declares_does_not_depend_on_it(make_learner):
    learners = [
        make_learner(rainbow_nap.get_config, {"formulation": name})
        for name in ("reference", "few_kernels")
    ]
    first, second = (learner.agent.declared for learner in learners)
    assert set(first.layers) == set(second.layers)
    assert first.units == second.units
    assert len(first.units) == 5


def test_files_have_the_plain_state(make_learner):
    """So a run may go on with the other formulation, and policies load in any case."""
    learners = {
        name: make_learner(rainbow_nap.get_config, {"formulation": name, "num_seeds": 2})
        for name in ("reference", "few_kernels")
    }
    few, plain = learners["few_kernels"], learners["reference"]
    first = np.zeros((2, 2, 36, 36), np.uint8)
    packed = few.init(0, first)
    assert len(jax.tree.leaves(packed.train)) == 14
    arrays = [
        state_arrays.to_host(few.replay, state)
        for state in (plain_state.plain(few, packed), plain.init(0, first))
    ]
    assert arrays[0].keys() == arrays[1].keys()
    again = plain_state.packed(few, plain_state.plain(few, packed))
    for x, y in zip(jax.tree.leaves(again.train), jax.tree.leaves(packed.train)):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer.name": "sgd", "optimizer.kwargs": {}},
        {"optimizer.projection.scale_offset": "decay_to_init"},
        {"optimizer.projection.moments": "rescale"},
    ],
)
def test_what_needs_a_tree_keeps_one(make_learner, changes):
    changes = {**changes, "formulation": "few_kernels"}
    learner = make_learner(rainbow_nap.get_config, changes, "vectors")
    assert learner.agent.packed is None
    assert isinstance(learner.init(0, np.zeros((1, 2, 5), np.float32)), replay_learner.LearnerState)


@pytest.mark.parametrize(
    ("name", "backend", "expected"),
    [
        ("auto", "cpu", "compute_once"),
        ("auto", "tpu", "reference"),
        ("auto", "gpu", "few_kernels"),
        ("reference", "gpu", "reference"),
        ("few_kernels", "cpu", "few_kernels"),
    ],
)
def test_auto_follows_the_backend(name, backend, expected):
    assert formulations.resolve(name, backend) == expected
