"""Switches of the compiler: used where they exist, and without effect on the numbers."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core import checks
from training.learning import replay_learner
from training.system import jax_platform


@pytest.fixture
def fresh_options():
    jax_platform.compiler_options.cache_clear()
    yield
    jax_platform.compiler_options.cache_clear()


@pytest.mark.skipif(jax.__version_info__ < (0, 10), reason="XLA has no such option, or may not")
def test_the_pinned_jax_has_the_option(fresh_options):
    """If XLA renames it, updates get slower without another sign."""
    if jax.default_backend() == "cpu":
        assert jax_platform.compiler_options()


def test_there_are_none_for_a_gpu(fresh_options, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert jax_platform.compiler_options() == {}


@pytest.mark.parametrize("error", [TypeError("no such argument"), RuntimeError("no such option")])
def test_there_are_none_where_jit_refuses_them(fresh_options, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(jax, "jit", refuse)
    assert jax_platform.compiler_options() == {}


def test_an_unexpected_failure_is_not_hidden(fresh_options, monkeypatch):
    def fail(*_, **__):
        raise KeyError("bug")

    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(jax, "jit", fail)
    with pytest.raises(KeyError):
        jax_platform.compiler_options()


def test_precision_of_products_is_what_the_config_says():
    before = jax.config.jax_default_matmul_precision
    product = lambda: str(jax.make_jaxpr(jnp.dot)(jnp.ones((2, 2)), jnp.ones((2, 2))))  # noqa: E731
    try:
        jax_platform.set_up(precision="float32")
        assert "HIGHEST" in product()
        jax_platform.set_up()
        assert "HIGHEST" not in product()
    finally:
        jax.config.update("jax_default_matmul_precision", before)


def test_garbage_is_looked_for_seldom():
    gc.set_threshold(700, 10, 10)  # Python's own
    jax_platform.set_up(precision="float32")
    assert gc.get_threshold()[0] == 50_000


def test_unknown_precision_is_refused():
    with pytest.raises(checks.ConfigError, match=r"^precision = 'tf32': expected one of 'default'"):
        jax_platform.set_up(precision="tf32")


def test_updates_are_the_same_with_and_without(make_learner, random_steps, monkeypatch):
    """Another order of the operations, not other operations."""
    losses = []
    for options in (jax_platform.compiler_options(), {}):
        monkeypatch.setattr(jax_platform, "compiler_options", lambda options=options: options)
        learner, state = make_learner(), None
        for step in random_steps(0, 15, learner.num_envs):
            step = jax.tree.map(lambda x: np.asarray(x)[None], step)
            if state is None:
                state = learner.init(1, step.observation)
            state, _ = learner.observe(state, replay_learner.Observed.of(*step[:-1]))
        state, metrics = learner.learn(state, 3)
        losses.append([float(metrics["loss"][0]), float(metrics["gradient_norm"][0])])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
