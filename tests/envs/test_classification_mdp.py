"""Images, classes and their permutations; rewards; and streams of tasks."""

import dm_env
import numpy as np
import pytest

from core import checks
from envs import base, classification_mdp, image_data, probes, task_stream

_SMALL = {"images": 40, "episode_steps": 6}


def _parameters(**changes):
    chosen = classification_mdp.Settings(**_SMALL, **changes)
    return {k: np.asarray(v) for k, v in classification_mdp.parameters_of(chosen).items()}


def test_mnist_has_as_many_of_each_class():
    images, labels = image_data.load_mnist()
    assert images.shape == (5_000, 28, 28)
    assert (images.min(), images.max()) == (0, 1)
    assert np.bincount(labels).tolist() == [500] * 10


def test_images_are_pooled_and_standardized():
    parameters = _parameters()
    assert parameters["images"].shape == (40, 196)
    assert parameters["images"].mean() == pytest.approx(0, abs=1e-5)
    assert parameters["images"].std() == pytest.approx(1, abs=1e-5)
    assert np.bincount(parameters["actions"]).tolist() == [4] * 10
    image = image_data.load_mnist()[0][0]
    pooled = [
        image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for i in range(14) for j in range(14)
    ]
    assert np.corrcoef(pooled, parameters["images"][0])[0, 1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("stream", ["label", "pixel"])
def test_tasks_permute_classes_and_in_one_stream_pixels(stream):
    first, other, again = (_parameters(stream=stream, task=task) for task in (0, 5, 5))
    for name, array in other.items():
        np.testing.assert_array_equal(array, again[name])
    classes = {(int(a), int(b)) for a, b in zip(first["actions"], other["actions"])}
    assert len(classes) == len(dict(classes)) == len({b for _, b in classes}) == 10
    assert any(a != b for a, b in classes)
    assert (first["images"] == other["images"]).all() == (stream == "label")
    for ours, theirs in zip(first["images"], other["images"]):
        np.testing.assert_array_equal(np.sort(ours), np.sort(theirs))


def test_the_right_action_is_rewarded_and_an_episode_is_cut():
    environment = base.make(classification_mdp.Settings(**_SMALL), 3, 1)
    parameters = _parameters()
    timestep = environment.reset()
    for step in range(1, 7):
        seen = [_index(parameters, row) for row in timestep.observation]
        right = parameters["actions"][seen]
        timestep = environment.step(np.where([True, True, False], right, (right + 1) % 10))
        assert timestep.reward.tolist() == [1, 1, 0]
        assert (timestep.discount == 1).all()
        assert timestep.last().all() == (step == 6)
    assert [x.episode_return for x in environment.finished_episodes()] == [6, 6, 0]
    assert (environment.step(np.zeros(3, int)).step_type == dm_env.StepType.FIRST).all()


def _index(parameters, observation):
    (found,) = np.flatnonzero((parameters["images"] == observation).all(1))
    return found


def test_a_stream_goes_to_the_next_task_and_after_the_last_to_the_first():
    each = classification_mdp.Settings(**_SMALL, stream="label")
    chosen = task_stream.Settings(each=each, num_tasks=2, frames_per_task=100)
    environment = base.make(chosen, 2, 0)
    environment.reset()
    for task in (0, 1, 0):
        expected = _parameters(stream="label", task=task)["actions"]
        np.testing.assert_array_equal(environment.parameters["actions"], expected)
        timestep = environment.step(np.zeros(2, int))
        leaving = environment.next_task()
        assert leaving.last().all()
        assert leaving.discount.all()
        np.testing.assert_array_equal(leaving.observation, timestep.observation)
        assert environment.step(np.zeros(2, int)).first().all()
    assert environment.task == 3
    assert [base.task_name(task) for task in base.tasks(chosen)] == ["label_0", "label_1"]


def test_only_environments_with_tasks_make_a_stream():
    with pytest.raises(checks.ConfigError, match=r"each.module = 'probes': expected an environ"):
        task_stream.Settings(each=probes.Settings())
    alone = base.make(classification_mdp.Settings(**_SMALL), 1, 0)
    alone.reset()
    with pytest.raises(RuntimeError, match="no other task"):
        alone.next_task()
