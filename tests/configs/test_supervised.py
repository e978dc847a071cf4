"""configs/supervised: each builds its experiment; what the arguments change."""

import jax
import numpy as np
import pytest

from configs.supervised import (
    architectures,
    dead_units,
    methods,
    methods_cnn,
    permuted_pixels,
    random_labels,
    replayed_schedule,
    revival,
    slow_regression,
    stream,
)
from core import checks
from envs import labelled_images
from training import derived, experiment, run_settings

_ALL = (
    (architectures, "cnn"),
    (architectures, "residual:ln"),
    (architectures, "transformer:nap"),
    (random_labels, "plain"),
    (random_labels, "nap"),
    (dead_units, "adam:plain"),
    (dead_units, "momentum:rms"),
    (dead_units, "sgd:ln"),
    (permuted_pixels, "ln"),
    (replayed_schedule, "free"),
    (replayed_schedule, "constant"),
    (revival, "plain"),
    (revival, "ln_constant"),
    (slow_regression, "nap"),
    *((methods, method) for method in methods._METHODS),
    *((methods, f"{method}:nap") for method in methods._METHODS),
    (methods_cnn, "none"),
    (methods_cnn, "redo:nap"),
)


@pytest.mark.parametrize(("module", "argument"), _ALL)
def test_each_builds_a_stream(module, argument):
    config = derived.resolve(module.get_config(argument))
    settings = run_settings.parse(config)
    parts = experiment.make(settings)
    assert settings.num_frames == settings.frames_per_task * config.environment.num_tasks
    num_actions = 1 if module is slow_regression else 10
    assert parts.environment.action_spec().num_values == num_actions
    base = module.__name__.rpartition(".")[2]
    assert config.name.startswith(base)
    is_default = argument in ("plain", "adam:plain", "none", "free", "cnn")
    assert (config.name == base) == is_default


@pytest.mark.parametrize(("key", "value"), [("n_step", 3), ("max_abs_reward", 1.0)])
def test_labels_that_would_be_summed_or_clipped_are_refused(key, value):
    config = random_labels.get_config("plain")
    config.transition[key] = value
    config.replay.min_size = 1_024
    message = rf"transition\.{key} = {value}: expected [01](\.0)? with agent\.module = 'classifier'"
    with pytest.raises(checks.ConfigError, match=message):
        experiment.make(run_settings.parse(derived.resolve(config)))


def test_names_differ():
    names = [module.get_config(argument).name for module, argument in _ALL]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("module", "argument", "message"),
    [
        (random_labels, "x", "arm = 'x': expected 'plain' or 'ln' or 'nap'"),
        (dead_units, "rmsprop", "optimizer = 'rmsprop': expected"),
        (dead_units, "sgd:x", "norm = 'x': expected"),
        (architectures, "x", "network = 'x': expected"),
        (architectures, "cnn:x", "arm = 'x': expected"),
        (revival, "x", "norm = 'x': expected"),
        (methods, "x", "method = 'x': expected"),
        (methods, "l2:ln", "after the method = 'ln': expected"),
        (methods_cnn, "x", "method = 'x': expected"),
    ],
)
def test_other_arguments_are_refused(module, argument, message):
    with pytest.raises(checks.ConfigError, match=message):
        module.get_config(argument)


def test_each_image_is_learned_once_and_with_its_label():
    """Batches of a stream, drawn as an update draws them, by the loop over single steps."""
    config = stream.make("test", (8, 8), batch_size=4, num_tasks=2, updates=10)
    small = {"data": "digits", "images": 50}
    config.environment.each.update(small)
    config.training.steps_per_call = 1
    settings = run_settings.parse(derived.resolve(config))
    parts = experiment.make(settings)
    chosen = labelled_images.Settings(**small)
    made = labelled_images.parameters_of(chosen)
    images, labels = np.asarray(made["images"]), np.asarray(made["labels"])
    learner, environment = parts.learner, parts.environment
    timestep = environment.reset()
    state = learner.init(settings.seed, timestep.observation[None])
    before = None
    for _ in range(6):
        shown = timestep.observation
        state, actions = learner.observe(state, experiment.observed(timestep, learner))
        if before is not None:
            sample = lambda replay: learner.replay.sample(replay, jax.random.key(0), 4)  # noqa: E731
            of_seeds = jax.vmap(sample, in_axes=(learner.replay.seed_axes,))(state.replay)
            batch = jax.tree.map(lambda x: x[0], of_seeds.transition)
            np.testing.assert_array_equal(batch.s_tm1, before)
            found = [np.flatnonzero((images == row).all(1))[0] for row in before]
            np.testing.assert_array_equal(batch.r_t, labels[found])
            assert not batch.discount_t.any()
        before, timestep = shown, environment.step(np.asarray(actions[0]))
