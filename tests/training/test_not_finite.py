"""A number that is not finite ends a run: what, when and which seed, and nothing comes after it."""

import csv
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import base as agents_base
from core import finite
from training import experiment, loop
from training.acting import policy
from training.checkpoints import state_arrays
from training.learning import prioritizing

_OVERRIDES = {
    "log.period_frames": 400,
    "snapshot.period_frames": 400,
    "network.torso.hidden_sizes": (8,),
    "network.head.hidden_size": 8,
    "agent.num_atoms": 11,
}


def _config(**overrides):
    config = importlib.import_module("configs.probe").get_config("4")
    config.update_from_flattened_dict(_OVERRIDES | overrides)
    return config


def _rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _snapshots(path):
    return sorted(int(p.name) for p in (path / "snapshots").iterdir())


def _poison(run, k, place):
    """Sets a number of seed k to nan."""
    train = run.loop.state.train
    bad = jax.tree.map(lambda x: x.at[k].set(jnp.nan), getattr(train, place))
    run.loop.state = run.loop.state._replace(train=train._replace(**{place: bad}))


def _play_until(run, frames):
    while run.counters["frames"] < frames:
        run.iterate()
        if run.loop.is_due(run.settings.log.period_frames):
            run.log()


@pytest.mark.parametrize("place", ["params", "target_params"])
def test_one_bad_seed_ends_the_run_and_the_others_rows_stay(tmp_path, place):
    run = loop.Run(_config(num_seeds=3), tmp_path / "run")
    _play_until(run, 600)
    run.save()
    _poison(run, 1, place)
    frames = run.counters["frames"]
    with pytest.raises(finite.NotFiniteError) as error:
        _play_until(run, 6_000)
    run.close()
    # Its first update after that, which is seen before the next time step is logged.
    assert str(error.value).startswith(f"loss = nan at frame {frames + 4}, update ")
    assert ", seed 2: expected a finite number" in str(error.value)
    assert run.counters["frames"] < frames + 100
    assert _snapshots(tmp_path / "run") == [600]
    rows = _rows(tmp_path / "run" / "train.csv")[-3:]
    assert [row["seed"] for row in rows] == ["1", "2", "3"]
    assert [np.isfinite(float(row["loss"])) for row in rows] == [True, False, True]


def test_shown_loss_is_that_of_the_finite_seeds(tmp_path):
    run = loop.Run(_config(num_seeds=2), tmp_path / "run")
    metrics = {"loss": np.array([0.5, np.nan]), "gradient_norm": np.ones(2)}
    run.recorder.learned(run.counters, metrics)
    assert "loss = nan at frame 0, update 0, seed 2" in run.recorder.gathered.not_finite()
    assert run.recorder.interval(run.counters, np.zeros(2), {})["loss"] == 0.5
    run.close()


def test_a_learning_rate_that_is_not_finite_ends_the_run(tmp_path):
    """1e-3 * 1e41 is too large for float32, and optax multiplies it by 0 before its time."""
    schedule = {"name": "piecewise", "boundaries": (700,), "scales": (1e41,)}
    changes = {f"optimizer.schedule.{key}": value for key, value in schedule.items()}
    run = loop.Run(_config(**changes), tmp_path / "run")
    with pytest.raises(finite.NotFiniteError, match=r"^learning_rate = nan at frame 104, update 1"):
        _play_until(run, 600)
    run.close()


@pytest.mark.parametrize("what", ["save", "evaluate", "measure_layers"])
def test_nothing_leaves_with_parameters_that_are_not_finite(tmp_path, what):
    """Even if no update has been done with them that could tell."""
    run = loop.Run(_config(num_seeds=2), tmp_path / "run")
    _play_until(run, 400)
    _poison(run, 1, "params")
    norms = (tmp_path / "run" / "norms_seed_2.csv").read_text()
    with pytest.raises(finite.NotFiniteError, match=r"^frame 400, update \d+: .* = nan"):
        getattr(run, what)()
    run.close()
    assert not (tmp_path / "run" / "snapshots").exists()
    assert not (tmp_path / "run" / "evaluation.csv").exists()
    assert (tmp_path / "run" / "norms_seed_2.csv").read_text() == norms


@pytest.mark.parametrize("what", ["save", "evaluate", "measure_layers"])
def test_what_leaves_names_the_first_bad_update_after_writing_its_rows(tmp_path, what):
    run = loop.Run(_config(), tmp_path / "run")
    _play_until(run, 400)
    names = experiment.metric_names(run.experiment)
    bad = dict.fromkeys(names, np.array([np.inf]))
    run.recorder.learned({"frames": 404, "updates": 77}, bad)
    with pytest.raises(finite.NotFiniteError, match=r"^loss = inf at frame 404, update 77, seed 1"):
        getattr(run, what)()
    run.close()
    assert _rows(tmp_path / "run" / "train.csv")[-1]["gradient_norm"] == "inf"


def test_an_update_tells_of_priorities_that_are_not_finite():
    """Whose loss is finite: another agent may have others than Rainbow."""
    updated = agents_base.Updated(None, jnp.array([1.0, jnp.nan]), {"loss": jnp.ones(())})
    chosen = prioritizing.Prioritizing(lambda steps: steps, 100.0)
    found = prioritizing.update(lambda *_: updated, chosen, None, None, None, None)
    assert np.isnan(found.priorities[1])
    assert np.isnan(found.metrics["priority"])
    assert np.isfinite(found.metrics["loss"])


def test_a_bad_reward_is_told_with_frame_and_seed(tmp_path, monkeypatch):
    """The third of four environments of the second seed."""
    run = loop.Run(_config(num_seeds=2), tmp_path / "run")
    reward = np.array([0.0] * 6 + [np.inf, 0.0])
    monkeypatch.setattr(
        run.experiment.environment, "recv", lambda: finite.check("reward of environment", reward)
    )
    with pytest.raises(finite.NotFiniteError) as error:
        run.iterate()
    run.close()
    assert str(error.value).startswith("frame 4, update 0, seed 2: reward of environment [6] = inf")


def test_a_snapshot_with_numbers_that_are_not_finite_is_neither_continued_nor_played(
    tmp_path, monkeypatch
):
    """As versions before this rule wrote them: such a run never counts as finished."""
    config = _config(num_seeds=2)
    run = loop.Run(config, tmp_path / "run")
    _poison(run, 1, "params")
    run.counters["frames"] = config.num_frames
    with monkeypatch.context() as patched:
        patched.setattr(state_arrays, "check_finite", lambda *_: None)
        run.save()
        run.close()
    message = r"seed 2: .*snapshots/0+6000: learner.train.params"
    with pytest.raises(finite.NotFiniteError, match=message):
        loop.train(config, tmp_path / "run")
    policy.load(tmp_path / "run", seed_index=0)
    with pytest.raises(finite.NotFiniteError, match=r"seed 2: .*snapshots/0+6000: params"):
        policy.load(tmp_path / "run", seed_index=1)
