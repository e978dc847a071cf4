"""Labels, permutations and growth of streams of images; and an update's batch."""

import numpy as np
import pytest

from configs.supervised import random_labels
from core import checks, plugins, settings
from envs import base, classification_mdp, labelled_images
from training import derived, experiment, run_settings

_SMALL = {"data": "digits", "images": 50}


def _parameters(**changes):
    chosen = labelled_images.Settings(**{**_SMALL, **changes})
    return {k: np.asarray(v) for k, v in labelled_images.parameters_of(chosen).items()}


def test_images_are_standardized_vectors_in_an_order_of_their_own():
    found = _parameters(labels="own", images=1_797)
    assert found["images"].shape == (1_797, 64)
    assert found["images"].mean() == pytest.approx(0, abs=1e-5)
    assert found["images"].std() == pytest.approx(1, abs=1e-5)
    # As many of each class as there are, but in the order of no file.
    assert np.bincount(found["labels"]).min() > 170
    first = _parameters(labels="own")["labels"]
    np.testing.assert_array_equal(first, found["labels"][:50])


def test_pictures_have_channels_first_and_bytes():
    found = _parameters(form="pictures")
    assert (found["images"].shape, found["images"].dtype) == ((50, 1, 8, 8), np.uint8)
    vectors = _parameters()["images"].reshape(50, 1, 8, 8)
    scale = np.float64(vectors.max() - vectors.min()) / 255
    np.testing.assert_allclose(found["images"] * scale + vectors.min(), vectors, atol=scale)
    colours = _parameters(form="pictures", data="patches")["images"]
    assert colours.shape == (50, 3, 32, 32)
    environment = base.make(labelled_images.Settings(**_SMALL, form="pictures"), 2, 0)
    observation = environment.reset().observation
    assert (observation.shape, observation.dtype) == ((2, 1, 8, 8), np.uint8)
    first, other = (
        _parameters(form="pictures", permuted_pixels=True, task=task)["images"] for task in (0, 1)
    )
    assert (first != other).any()
    np.testing.assert_array_equal(np.sort(first.reshape(50, -1)), np.sort(other.reshape(50, -1)))


def test_random_labels_are_drawn_anew_in_each_task_and_are_the_same_in_all_runs():
    first, other, again = (_parameters(task=task) for task in (0, 3, 3))
    np.testing.assert_array_equal(other["labels"], again["labels"])
    assert (first["labels"] == other["labels"]).mean() < 0.4
    np.testing.assert_array_equal(first["images"], other["images"])
    own = _parameters(labels="own", task=3)["labels"]
    np.testing.assert_array_equal(own, _parameters(labels="own")["labels"])


def test_labels_can_change_in_steps_that_reach_every_image_once():
    labels = [_parameters(tasks_per_relabelling=5, task=task)["labels"] for task in range(11)]
    for begin in (0, 5):
        changed = [labels[task] != labels[task + 1] for task in range(begin, begin + 5)]
        assert np.sum(changed, axis=0).max() == 1
        # Ten of 50 are drawn anew, of which one in ten gets its old label.
        assert all(5 <= step.sum() <= 10 for step in changed)
    # After all steps they are those of one drawing at once.
    np.testing.assert_array_equal(labels[5], _parameters(task=1)["labels"])
    np.testing.assert_array_equal(labels[10], _parameters(task=2)["labels"])


def test_pixels_are_permuted_but_in_the_first_task():
    changes = {"labels": "own", "permuted_pixels": True}
    first, other = (_parameters(task=task, **changes) for task in (0, 2))
    np.testing.assert_array_equal(first["images"], _parameters(labels="own")["images"])
    assert (first["images"] != other["images"]).any()
    np.testing.assert_array_equal(np.sort(first["images"]), np.sort(other["images"]))
    np.testing.assert_array_equal(first["labels"], other["labels"])


def test_each_task_adds_images_until_there_are_no_more():
    found = [int(_parameters(growth=20, task=task)["available"]) for task in range(4)]
    assert found == [20, 40, 50, 50]
    assert int(_parameters()["available"]) == 50
    environment = base.make(labelled_images.Settings(**_SMALL, growth=3), 8, 0)
    images = _parameters()["images"][:3]
    timestep = environment.reset()
    for _ in range(10):
        for row in timestep.observation:
            assert (row == images).all(1).any()
        timestep = environment.step(np.zeros(8, int))


def test_what_is_held_out_is_drawn_in_its_own_task_alone():
    held_out = {"held_out": 10, "held_out_task": 2}
    found = [_parameters(task=task, **held_out) for task in range(4)]
    assert [(int(x["first"]), int(x["available"])) for x in found] == [
        (0, 40),
        (0, 40),
        (40, 10),
        (0, 40),
    ]
    chosen = labelled_images.Settings(**_SMALL, task=2, **held_out)
    images = _parameters()["images"][40:]
    for row in base.make(chosen, 8, 0).reset().observation:
        assert (row == images).all(1).any()
    assert int(_parameters(growth=30, task=1, held_out=10)["available"]) == 10
    assert int(_parameters(growth=30, task=3, held_out=10)["available"]) == 40
    with pytest.raises(checks.ConfigError, match="held_out = 50: expected fewer than images"):
        _parameters(held_out=50)


def test_a_label_follows_its_image_whatever_the_action_was():
    environment = base.make(labelled_images.Settings(**_SMALL), 4, 1)
    parameters = _parameters()
    timestep = environment.reset()
    for step in range(20):
        seen = [_index(parameters, row) for row in timestep.observation]
        timestep = environment.step(np.full(4, step % 10))
        np.testing.assert_array_equal(timestep.reward, parameters["labels"][seen])
        assert timestep.mid().all()


def _index(parameters, observation):
    return np.flatnonzero((parameters["images"] == observation).all(1))[0]


def test_what_the_data_has_not_is_refused():
    with pytest.raises(checks.ConfigError, match=r"images = 2000: expected at most 1797, which d"):
        _parameters(images=2_000)
    with pytest.raises(checks.ConfigError, match=r"labels = 'own': expected 'random', as data = "):
        labelled_images.Settings(data="patches", labels="own")


@pytest.mark.parametrize("module", ["labelled_images", "slow_regression"])
def test_labels_and_targets_have_no_return_and_are_not_evaluated(module):
    config = random_labels.get_config("plain")
    config.environment.each = settings.to_config(
        plugins.find("envs", module, "environment.module").Settings()
    )
    config.evaluation.period_frames = 1_000
    with pytest.raises(
        checks.ConfigError, match=r"evaluation\.period_frames = 1000: expected no ev"
    ):
        run_settings.parse(derived.resolve(config))


def test_a_classifier_is_given_labels():
    config = random_labels.get_config("plain")
    config.environment.each = settings.to_config(classification_mdp.Settings())
    parsed = run_settings.parse(derived.resolve(config))
    with pytest.raises(checks.ConfigError, match="its rewards are rewards: expected labels, with"):
        experiment.make(parsed)
