"""What a change of task resets, setting by setting; everything else stays as it was."""

import dataclasses

import jax
import numpy as np
import pytest

from agents import base as agents_base
from agents import optimizers
from configs import classification_stream, rainbow_nap
from core import checks, settings
from training import derived, run_settings
from training.learning import replay_learner, task_switching

SETTINGS = tuple(field.name for field in dataclasses.fields(task_switching.SwitchSettings))
CHANGES = {
    "network.head.noisy": False,
    "training.update_period_frames": 16,
    "training.target_update_period_frames": 16 * 100,
    "optimizer.schedule.name": "linear",
    "optimizer.learning_rate": 1e-2,
}


@pytest.fixture(scope="module")
def learner(make_learner):
    return make_learner(rainbow_nap.get_config, CHANGES, "vectors")


@pytest.fixture(scope="module")
def trained(learner, random_steps):
    """The state after 15 steps and 3 updates, on the host."""
    state = None
    for step in random_steps(0, 15, learner.num_envs, learner.replay.ring.spec.observation):
        step = jax.tree.map(lambda x: np.asarray(x)[None], step)
        if state is None:
            state = learner.init(1, step.observation)
        state, _ = learner.observe(state, replay_learner.Observed.of(*step[:-1]))
    state, _ = learner.learn(state, 3)
    return state


def switch(learner, state, *names):
    chosen = task_switching.SwitchSettings(**dict.fromkeys(names, True))
    # The switch takes its argument's memory.
    return task_switching.TaskSwitch(learner, chosen).apply(jax.tree.map(lambda x: x.copy(), state))


def parts(state):
    """The state's parts that the settings speak of, as arrays on the host."""
    train, chain = state.train, state.train.opt_state.inner
    found = {
        "params": train.params,
        "target": train.target_params,
        "moments": chain.moments,
        "schedule": chain.rate,
        "spheres": train.opt_state.projection,
        "frames": state.replay.ring.observations,
        "priorities": state.replay.tree,
        "importance": state.importance_start,
        "exploration": state.steps,
        "stack": state.stack,
        "updates": train.updates,
    }
    return {name: [np.asarray(x) for x in jax.tree.leaves(tree)] for name, tree in found.items()}


def changed(before, after):
    """The names of the parts that differ."""
    equal = {
        name: all(np.array_equal(x, y) for x, y in zip(before[name], after[name], strict=True))
        for name in before
    }
    return {name for name, is_equal in equal.items() if not is_equal}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), set()),
        (("reset_params",), {"params", "spheres"}),
        (("reset_target",), {"target"}),
        (("reset_optimizer",), {"moments"}),
        (("restart_schedule",), {"schedule"}),
        (("clear_replay",), {"priorities"}),
        (("restart_importance",), {"importance"}),
        (("restart_exploration",), {"exploration"}),
        (
            SETTINGS,
            {
                *("params", "spheres", "target", "moments", "schedule", "priorities"),
                *("importance", "exploration"),
            },
        ),
    ],
)
def test_each_setting_changes_its_own_part_and_no_other(learner, trained, names, expected):
    assert changed(parts(trained), parts(switch(learner, trained, *names))) == expected


def test_new_parameters_are_those_of_a_new_run(learner, trained):
    """On spheres of their own norms, with which the projection then keeps them."""
    after = switch(learner, trained, "reset_params", "reset_target", "reset_optimizer")
    found = parts(after)
    assert changed({"params": found["params"]}, {"params": found["target"]}) == set()
    assert all((moment == 0).all() for moment in found["moments"])
    hidden = next(k for k in after.train.opt_state.projection.radii if "output" not in k)
    radius = float(after.train.opt_state.projection.radii[hidden][0])
    old = float(trained.train.opt_state.projection.radii[hidden][0])
    assert radius != old
    weights = after.train.params[hidden]
    norm = np.sqrt(sum(float((np.asarray(w) ** 2).sum()) for w in weights.values()))
    np.testing.assert_allclose(norm, radius, rtol=1e-5)
    later, _ = learner.learn(jax.tree.map(lambda x: x.copy(), after), 2)
    norm = np.sqrt(
        sum(float((np.asarray(w) ** 2).sum()) for w in later.train.params[hidden].values())
    )
    np.testing.assert_allclose(norm, radius, rtol=1e-5)


def test_the_target_is_a_buffer_of_its_own(learner, trained):
    """Both are given away together in the next update."""
    after = switch(learner, trained, "reset_params", "reset_target")
    later, metrics = learner.learn(after, 1)
    assert np.isfinite(np.asarray(metrics["loss"])).all()
    assert changed(
        {"p": [np.asarray(x) for x in jax.tree.leaves(later.train.params)]},
        {"p": [np.asarray(x) for x in jax.tree.leaves(later.train.target_params)]},
    ) == {"p"}


def test_the_schedule_begins_again(make_learner, trained, learner):
    """The count that the schedule reads is 0 after the switch, and 2 two updates later."""
    after = switch(learner, trained, "restart_schedule")
    assert parts(trained)["schedule"][0] == 3
    later, _ = learner.learn(after, 2)
    assert parts(later)["schedule"][0] == 2


def test_a_layer_wise_norm_growth_begins_again_too():
    """It is a schedule as well, kept apart from the learning rate's."""
    old, fresh = (optimizers.ChainState(f"m{i}", f"r{i}", f"f{i}", f"t{i}") for i in range(2))
    what = agents_base.Forget(schedule=True)
    expected = old._replace(rate="r1", factors="f1")
    assert optimizers.forget((old, "other"), (fresh, "new"), what) == (expected, "other")


def test_importance_starts_from_the_steps_added_so_far(learner, trained):
    after = switch(learner, trained, "restart_importance", "clear_replay")
    assert int(after.importance_start) == 15 * learner.num_envs
    assert float(learner.prioritizing.schedule(0)) == pytest.approx(0.4)


def test_two_seeds_are_switched_each_by_itself(make_learner, random_steps):
    learner = make_learner(rainbow_nap.get_config, CHANGES | {"num_seeds": 2}, "vectors")
    spec = learner.replay.ring.spec.observation
    first = next(random_steps(0, 1, learner.num_envs, spec))
    state = learner.init(1, np.stack([first.observation] * 2))
    after = switch(learner, state, *SETTINGS)
    for before, leaf in zip(
        jax.tree.leaves(state.train.params), jax.tree.leaves(after.train.params)
    ):
        if np.asarray(before).std() > 0:
            assert (np.asarray(leaf[0]) != np.asarray(leaf[1])).any()
            assert (np.asarray(leaf) != np.asarray(before)).any()


def test_bad_setting_is_named():
    config = dict.fromkeys(SETTINGS, False) | {"reset_params": 1}
    with pytest.raises(checks.ConfigError, match=r"task_switch\.reset_params = 1"):
        settings.parse(task_switching.SwitchSettings, config, "task_switch")


def test_a_clock_does_not_open_the_gates_of_a_new_network():
    config = classification_stream.get_config("mse:injection")
    run_settings.parse(derived.resolve(config))
    config.task_switch.reset_params = True
    with pytest.raises(checks.ConfigError, match="reset_params = True: expected False with the"):
        run_settings.parse(derived.resolve(config))
