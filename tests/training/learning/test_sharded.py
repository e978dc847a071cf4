"""Updates spread over several devices equal those of one."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from core import checks
from replay import base as replay_base
from training.learning import sharded

_ROOT = Path(__file__).parents[3]
_STEPS = np.array(500_000, np.int32)


def _batch(random, batch_size=8):
    frames = lambda: random.randint(0, 256, (batch_size, 4, 36, 36)).astype(np.uint8)  # noqa: E731
    transition = replay_base.Transition(
        s_tm1=frames(),
        a_tm1=random.randint(0, 3, batch_size).astype(np.int32),
        r_t=random.normal(size=batch_size).astype(np.float32),
        discount_t=(0.97 * (random.uniform(size=batch_size) < 0.8)).astype(np.float32),
        s_t=frames(),
    )
    return transition, random.uniform(0.01, 0.2, batch_size).astype(np.float32)


def _make(learner, num_devices):
    devices = sharded.choose_devices(num_devices, 8)
    return sharded.ShardedUpdate(learner.agent, learner.prioritizing, devices)


def check_two_devices(make_learner):
    """Run where there are two: ten updates by two devices, and by one of them."""
    learner = make_learner(changes={"network.head.noisy": False, "optimizer.kwargs.eps": 1e-2})
    results = []
    for num_devices in (1, 2):
        update, random = _make(learner, num_devices), np.random.RandomState(0)
        state = update.init(3, np.zeros((1, 4, 36, 36), np.uint8))
        for _ in range(10):
            batch = update.put_batch(*_batch(random))
            assert len(batch.probabilities.sharding.device_set) == num_devices
            state, priorities, metrics = update.learn(state, batch, _STEPS)
        results.append(jax.device_get((state.train.params, priorities, metrics["loss"])))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-5), *results)


def test_two_devices_do_what_one_does():
    """In a process that is told to have two CPU devices."""
    program = (
        "from training.system import jax_platform; jax_platform.set_up('cpu')\n"
        "from tests.training import conftest\n"
        "from tests.training.learning import test_sharded\n"
        "test_sharded.check_two_devices(conftest.make_small_learner)\n"
    )
    flags = "--xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=_ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_an_update_is_that_of_the_learner_of_one_process(make_learner):
    """The same batch, key and weights: the same parameters and priorities."""
    learner = make_learner()
    update = _make(learner, 1)
    state = update.init(3, np.zeros((1, 4, 36, 36), np.uint8))
    batch = update.put_batch(*_batch(np.random.RandomState(1)))
    _, rng_loss = jax.random.split(state.rng)
    weights = (batch.probabilities.min() / batch.probabilities) ** learner.prioritizing.schedule(
        _STEPS
    )
    expected, expected_priorities, _ = jax.device_get(
        jax.jit(learner.agent.update)(state.train, rng_loss, batch.transition, weights)
    )
    found, priorities, _ = update.learn(state, batch, _STEPS)
    assert int(found.train.updates) == 1
    np.testing.assert_allclose(priorities, expected_priorities, rtol=1e-4)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-6),
        jax.device_get(found.train.params),
        expected.params,
    )


def test_its_metrics_are_known_before_the_first_update(make_learner):
    update = _make(make_learner(), 1)
    state = update.init(3, np.zeros((1, 4, 36, 36), np.uint8))
    shapes = jax.eval_shape(lambda: state)
    names = update.metric_names(shapes, sharded.batch_shapes((8, 4, 36, 36), np.uint8))
    batch = update.put_batch(*_batch(np.random.RandomState(1)))
    *_, metrics = update.learn(state, batch, _STEPS)
    assert names == list(metrics)


def test_more_devices_than_there_are_are_refused():
    assert len(sharded.choose_devices(1, 8)) == 1
    with pytest.raises(checks.ConfigError, match="learner_devices = 99: expected at most"):
        sharded.choose_devices(99, 198)


def test_devices_must_share_a_batch_evenly(monkeypatch):
    """Of three, two do by default; all three are refused."""
    monkeypatch.setattr(jax, "local_devices", lambda: [0, 1, 2])
    assert sharded.choose_devices(0, 32) == [0, 1]
    with pytest.raises(checks.ConfigError, match="batch_size = 32: expected a multiple of the 3"):
        sharded.choose_devices(3, 32)
