"""Experiments make the protocol's runs and keep their scores; no run here is a real one."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import run_records
from analysis.claims import evidence, page
from analysis.claims.experiments import (
    classification,
    contract,
    label_variants,
    registry,
    replays,
    task_quantities,
)
from core import checks
from plasticity import identities
from tests.docs import commands
from training import run_directory

# Of plain C51 the slowest rate is the best, of the others another one.
_LAST = {"3e-4": 0.6, "1e-3": 0.5, "3e-3": 0.4}
_LAST_OF_OTHERS = {"3e-4": 0.6, "1e-3": 0.5, "3e-3": 0.7}


class _Scripts:
    """Stands for the scripts: notes the calls, and writes the runs of a sweep."""

    def __init__(self, config):
        self.calls = []
        self.failing = None
        self._config = config

    def __call__(self, script, arguments):
        self.calls.append((script, *arguments))
        if script == "sweep":
            flags = dict(x[2:].split("=", 1) for x in arguments if "=" in x)
            for argument in flags["arguments"].split(","):
                for seed in flags["seeds"].split(","):
                    path = f"{flags['root']}/{argument}/seed_{seed}"
                    rate = flags["config.optimizer.learning_rate"]
                    self._write(path, *argument.split(":"), int(seed), rate)

    def _write(self, path, agent, arm, seed, rate):
        path = Path(path)
        path.mkdir(parents=True)
        config = {**self._config, "seed": seed, "name": classification.name(agent, arm)}
        (path / "config.json").write_text(json.dumps(config))
        last = (_LAST if arm == "plain" else _LAST_OF_OTHERS)[rate]
        num_tasks = 30 if (arm, rate, seed) == self.failing else 40
        rows = [f"{task},{8_000 * (task + 1)},{seed},{last},{task}" for task in range(num_tasks)]
        header = "task,frames,seed,greedy_reward,elapsed_seconds"
        (path / "train.csv").write_text("\n".join([header, *rows]) + "\n")
        norms = ["0,2.0,1.0", *(f"{1_000 * (task + 1)},2.0,1.5" for task in range(num_tasks))]
        (path / f"norms_seed_{seed}.csv").write_text("\n".join(["updates,a,b", *norms]) + "\n")
        start = {"commit": "c", "processor": "p", "cores": 2, "device": "cpu"}
        (path / "provenance.jsonl").write_text(json.dumps(start) + "\n")


@pytest.fixture
def scripts():
    from configs import classification_stream

    config = classification_stream.get_config()
    text = json.loads(config.to_json_best_effort())
    return _Scripts({**text, "num_frames": 40 * 8_000})


def _run(scripts, tmp_path, is_full):
    runner = contract.Runner(scripts, tmp_path, is_full, workers=3)
    return registry.EXPERIMENTS["classification_stream"].run(runner)


def test_the_full_size_tunes_each_arm_on_seeds_of_its_own(scripts, tmp_path):
    outcome = _run(scripts, tmp_path, is_full=True)
    assert {call[0] for call in scripts.calls} == {"sweep"}
    tuning, test = scripts.calls[:3], scripts.calls[3:]
    assert {call[3] for call in tuning} == {"--seeds=100,101"}
    assert [call[-1].partition("=")[2] for call in tuning] == ["3e-4", "1e-3", "3e-3"]
    assert test[0][2] == "--arguments=c51:plain"
    assert test[0][-2:] == ("--", "--config.optimizer.learning_rate=3e-4")
    assert test[1][2].startswith("--arguments=c51:ln,c51:nap,")
    assert test[1][-1] == "--config.optimizer.learning_rate=3e-3"
    assert all("--workers=3" in call for call in scripts.calls)
    assert len(outcome.scores["greedy_reward"]) == 7
    assert sorted(outcome.scores["greedy_reward"]["classification_c51_nap"]) == list(range(1, 21))
    assert list(outcome.positions) == list(range(40))
    tuned = run_records.read_table(tmp_path / "results" / "tuning.csv")
    assert len(tuned["arm"]) == 7 * 3 * 2
    ours = (tuned["arm"] == "c51:nap") & (tuned["rate"] == 3e-3)
    np.testing.assert_allclose(tuned["seed"][ours], [100, 101])
    np.testing.assert_allclose(tuned["merit"][ours], [0.7, 0.7])


def test_the_small_size_has_five_seeds_and_one_rate(scripts, tmp_path):
    outcome = _run(scripts, tmp_path, is_full=False)
    ((_, _, arguments, seeds, *_, rate),) = scripts.calls
    assert arguments == "--arguments=c51:plain,c51:ln,c51:nap,c51:nap_schedule,c51:l2_init"
    assert (seeds, rate) == ("--seeds=1,2,3,4,5", "--config.optimizer.learning_rate=1e-3")
    assert len(outcome.scores["greedy_reward"]) == 5


def test_evidence_is_read_as_it_was_written(scripts, tmp_path):
    outcome = _run(scripts, tmp_path / "runs", is_full=False)
    for _ in range(2):  # again, over the older one
        evidence.write(tmp_path / "e", outcome.runs, outcome.scores, outcome.positions, True)
    found = evidence.read(tmp_path / "e")
    assert found is not None
    assert found.scores.keys() == outcome.scores.keys()
    for arm, by_seed in outcome.scores["greedy_reward"].items():
        for seed, values in by_seed.items():
            np.testing.assert_allclose(found.scores["greedy_reward"][arm][seed], values)
    assert (found.commit, found.hardware) == ("c", "p, 2 cores, cpu")
    assert found.is_full
    assert found.hours == pytest.approx(25 * 39 / 3600)
    config = json.loads((tmp_path / "e" / "configs" / "classification_stream.json").read_text())
    assert config["environment"]["num_tasks"] == 40
    assert "seed" not in config
    assert evidence.read(tmp_path / "nothing") is None


def test_a_seed_without_some_of_the_scores_is_refused(scripts, tmp_path):
    outcome = _run(scripts, tmp_path / "runs", is_full=False)
    evidence.write(tmp_path / "e", outcome.runs, outcome.scores, outcome.positions, True)
    path = tmp_path / "e" / "scores.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(checks.ConfigError, match=r"norm_deviation of seed 5 of .*: expected the"):
        evidence.read(tmp_path / "e")


def test_runs_of_several_commits_leave_no_evidence(scripts, tmp_path):
    outcome = _run(scripts, tmp_path / "runs", is_full=False)
    run = next(tmp_path.rglob("provenance.jsonl"))
    run.write_text(run.read_text().replace('"c"', '"d"'))
    runs = run_records.find([tmp_path / "runs"])
    with pytest.raises(checks.ConfigError, match="several commits"):
        evidence.write(tmp_path / "e", runs, outcome.scores, outcome.positions, True)
    assert not (tmp_path / "e").exists()


def test_runs_of_several_commits_are_no_evidence(scripts, tmp_path):
    outcome = _run(scripts, tmp_path / "runs", is_full=False)
    evidence.write(tmp_path / "e", outcome.runs, outcome.scores, outcome.positions, True)
    path = tmp_path / "e" / "runs.csv"
    first, *rows = path.read_text().splitlines()
    path.write_text("\n".join([first, *rows[:-1], rows[-1].replace(",c,", ",d,")]) + "\n")
    with pytest.raises(checks.ConfigError, match=r"runs\.csv: runs of commits c, d: expected one"):
        evidence.read(tmp_path / "e")


def _run_of_two_tasks(**tables):
    """With tasks of 100 frames, as the reading functions see it."""
    config = {"environment": {}, "seed": 1, "num_seeds": 1}
    run = run_records.RunRecord(Path("run"), config, tables, [])
    return _Run(*run)


class _Run(run_records.RunRecord):
    frames, frames_per_task = 200, 100


def test_numbers_are_read_task_by_task():
    train = {
        "frames": np.array([50, 100, 150, 200]),
        "task": np.array([0, 0, 1, 1]),
        "seed": np.ones(4),
        "loss": np.array([4.0, 3.0, 2.0, 1.0]),
        "accuracy": np.array([0.1, 0.3, np.nan, 0.5]),
    }
    run = _run_of_two_tasks(train=train)
    np.testing.assert_allclose(task_quantities.last_rows("train", "loss")(run, 1), [3, 1])
    np.testing.assert_allclose(task_quantities.means("accuracy")(run, 1), [0.2, 0.5])
    assert task_quantities.accuracy(run) == pytest.approx(0.35)


def test_norms_are_of_all_layers_and_dead_units_the_mean_over_them():
    layers = {
        "frames": np.array([100, 100, 200, 200, 200]),
        "seed": np.ones(5),
        "norm": np.array([3.0, 4.0, 6.0, 8.0, 9.0]),
        # None of a norm's own parameters.
        "mean_abs_weight": np.array([1.0, 1.0, 1.0, 1.0, np.nan]),
    }
    units = {
        "frames": np.repeat([50, 100, 150, 200], 2),
        "seed": np.ones(8),
        "layer": np.array(["a", "b"] * 4),
        "dead": np.array([0.0, 0.2, 0.2, 0.4, 0.8, 0.6, 0.0, 0.1]),
    }
    run = _run_of_two_tasks(layers=layers, units=units)
    np.testing.assert_allclose(task_quantities.weight_norm(run, 1), [5, 10])
    np.testing.assert_allclose(
        task_quantities.unit_shares("dead")(run, 1), [[0.1, 0.3], [0.7, 0.05]]
    )


def test_a_rate_that_fails_is_not_chosen(scripts, tmp_path):
    """The best one for plain C51, but one of its two runs ends early."""
    scripts.failing = ("plain", "3e-4", 101)
    _run(scripts, tmp_path, is_full=True)
    (call,) = (call for call in scripts.calls[3:] if call[2] == "--arguments=c51:plain")
    assert call[-1] == "--config.optimizer.learning_rate=1e-3"
    tuned = run_records.read_table(tmp_path / "results" / "tuning.csv")
    ours = (tuned["arm"] == "c51:plain") & (tuned["rate"] == 3e-4)
    np.testing.assert_array_equal(tuned["merit"][ours], [0.6, np.nan])


def test_what_an_earlier_choice_of_arms_and_rates_has_left_is_not_asked_for(scripts, tmp_path):
    left = tmp_path / "tuning" / "0"
    scripts._write(left / "3e-4" / "c51:l2" / "seed_100", "c51", "l2", 100, "3e-4")
    scripts._write(left / "3e-3" / "c51:nap" / "seed_100", "c51", "nap", 100, "3e-3")
    _run(scripts, tmp_path, is_full=True)
    tuned = run_records.read_table(tmp_path / "results" / "tuning.csv")
    assert "c51:l2" not in tuned["arm"]
    ours = (tuned["arm"] == "c51:nap") & (tuned["rate"] == 3e-4)
    np.testing.assert_allclose(tuned["merit"][ours], [0.6, 0.6])


def test_a_run_that_fails_has_no_score(scripts, tmp_path):
    scripts.failing = ("nap", "1e-3", 3)
    outcome = _run(scripts, tmp_path / "runs", is_full=False)
    evidence.write(tmp_path / "results", *outcome, is_full=False)
    found = evidence.read(tmp_path / "results").scores["greedy_reward"]
    failed = [seed for seed, x in found["classification_c51_nap"].items() if np.isnan(x).all()]
    assert failed == [3]
    assert np.isfinite(found["classification_stream"][3]).all()


def test_small_runs_and_uncommitted_code_are_no_evidence(scripts, tmp_path):
    outcome = _run(scripts, tmp_path / "runs", is_full=False)
    place = tmp_path / "results" / "classification_stream"
    evidence.write(place, *outcome, is_full=False)
    with pytest.raises(
        checks.ConfigError, match=r"runs\.csv: expected runs of scripts\.claim --full"
    ):
        page.read_evidence(tmp_path / "results")
    evidence.write(place, *outcome, is_full=True)
    assert page.read_evidence(tmp_path / "results").keys() == {"classification_stream"}
    dirty = [
        run._replace(starts=[{**run.starts[0], "uncommitted_changes": True}])
        for run in outcome.runs
    ]
    evidence.write(place, dirty, outcome.scores, outcome.positions, is_full=True)
    with pytest.raises(checks.ConfigError, match="without uncommitted changes"):
        page.read_evidence(tmp_path / "results")


def test_deviations_of_norms_are_from_birth(tmp_path):
    rows = ["updates,a,b", "0,2.0,10.0", "5,2.2,10.0", "9,9.9,9.9", "9,2.0,5.0"]
    (tmp_path / "norms_seed_1.csv").write_text("\n".join(rows) + "\n")
    run = _run_of_two_tasks()._replace(path=tmp_path)
    np.testing.assert_allclose(task_quantities.norm_deviation(run, 1), [0.1, 0.5])


@pytest.mark.parametrize("name", sorted(registry.EXPERIMENTS.keys() - {"identities"}))
@pytest.mark.parametrize("is_full", [False, True])
def test_all_runs_have_keys_and_values_that_exist(name, is_full, tmp_path):
    """As far as sweeps are asked for before there are any runs."""
    calls = []
    runner = contract.Runner(lambda *x: calls.append(x), tmp_path, is_full, workers=1)
    with pytest.raises(checks.ConfigError):
        registry.EXPERIMENTS[name].run(runner)
    sweeps = [arguments for script, arguments in calls if script == "sweep"]
    assert sweeps
    for arguments in sweeps:
        chosen = dict(x[2:].split("=", 1) for x in arguments[: arguments.index("--")])
        for argument in chosen["arguments"].split(","):
            config = f"--config={chosen['configs']}:{argument}"
            commands.check_config([config, *arguments[arguments.index("--") + 1 :]])


def test_probes_are_of_the_last_checkpoint(tmp_path):
    rows = ["frames,mean_loss_ratio", "100,9", "200,2", "200,8"]
    (tmp_path / "probe.csv").write_text("\n".join(rows) + "\n")
    run = _run_of_two_tasks()._replace(path=tmp_path)
    np.testing.assert_allclose(label_variants._probed(run, 1), [4.0])


def test_what_was_not_measured_yet_is_named(tmp_path):
    """With --read nothing is: neither probes nor identities."""
    run = _run_of_two_tasks()._replace(path=tmp_path)
    message = r"probe\.csv: expected a probe at frame 200: scripts\.claim makes one without"
    with pytest.raises(checks.ConfigError, match=message):
        label_variants._probed(run, 1)
    (tmp_path / "probe.csv").write_text("frames,mean_loss_ratio\n100,9\n")
    with pytest.raises(checks.ConfigError, match=message):
        label_variants._probed(run, 1)
    runner = contract.Runner(lambda *x: None, tmp_path, is_full=True, workers=1)
    with pytest.raises(checks.ConfigError, match=r"distances\.csv: expected what scripts\.claim"):
        registry.EXPERIMENTS["identities"].run(runner)


def test_replays_have_the_norms_of_their_own_seed(monkeypatch, tmp_path):
    calls = []

    def find(paths):
        root = paths[0]
        names = ["replayed_schedule"] if root.name == "free" else replays.REPLAYS.values()
        return [_finished(name, seed, root / f"{name}_{seed}") for name in names for seed in (1, 2)]

    monkeypatch.setattr(replays.run_records, "find", find)
    runner = contract.Runner(lambda *x: calls.append(x), tmp_path, is_full=False, workers=1)
    outcome = registry.EXPERIMENTS["replayed_schedule"].run(runner)
    assert outcome.scores["loss"].keys() == set(replays.REPLAYS.values())
    assert [arguments[1] for _, arguments in calls] == [
        "--arguments=free",
        *["--arguments=layer_wise,global,constant"] * 2,
    ]
    free = tmp_path / "test" / "free"
    for seed, (_, arguments) in enumerate(calls[1:], 1):
        path = free / f"replayed_schedule_{seed}" / f"norms_seed_{seed}.csv"
        assert arguments[-1] == f"--config.optimizer.schedule.norms_file={path}"


def test_rates_with_weight_decay_are_replayed_apart_from_those_without(monkeypatch, tmp_path):
    calls = []

    def find(paths):
        root = paths[0]
        names = [root.name] if root.parent.name == "free" else replays.REPLAYED.values()
        return [_finished(name, seed, root / f"{name}_{seed}") for name in names for seed in (1, 2)]

    monkeypatch.setattr(replays.run_records, "find", find)
    monkeypatch.setattr(replays.classification, "QUANTITY", "loss")
    runner = contract.Runner(lambda *x: calls.append(x), tmp_path, is_full=False, workers=1)
    registry.EXPERIMENTS["annealing"].run(runner)
    free, *of_free, decayed, first, _ = (arguments for _, arguments in calls)
    assert (free[1], len(of_free)) == ("--arguments=c51:ln", 2)
    assert not any("'weight_decay':" in key for key in (*free, *first))
    assert any("'weight_decay':" in key for key in decayed)
    path = tmp_path / "test/free/annealing_ln_decayed/annealing_ln_decayed_1/norms_seed_1.csv"
    assert first[1] == "--arguments=c51:nap"
    assert first[-1] == f"--config.optimizer.schedule.norms_file={path}"
    assert "--config.name=annealing_ln_decayed_replayed" in first


def test_identities_hold_in_float64(monkeypatch, tmp_path):
    """The script measures; of one problem, by SGD alone, the experiment reads what it wrote."""
    monkeypatch.setattr(contract, "_SMALL_SEEDS", 1)
    monkeypatch.setattr(identities, "OPTIMIZERS", {"sgd": identities.OPTIMIZERS["sgd"]})
    of_sgd = {key: name for key, name in replays.IDENTITIES.items() if key[0] == "sgd"}
    monkeypatch.setattr(replays, "IDENTITIES", of_sgd)

    def call(script, arguments):
        assert script == "identities"
        assert arguments == ["--problems=201", f"--output={tmp_path / 'test'}"]
        (tmp_path / "test").mkdir()
        run_records.write_table(tmp_path / "test/distances.csv", identities.distances(201))
        start = {**run_directory.code_and_machine(), "elapsed_seconds": 2.0}
        (tmp_path / "test/provenance.jsonl").write_text(json.dumps(start))

    runner = contract.Runner(call, tmp_path, is_full=False, workers=1)
    outcome = registry.EXPERIMENTS["identities"].run(runner)
    evidence.write(tmp_path, *outcome, is_full=False)
    found = evidence.read(tmp_path)
    assert found is not None
    assert found.scores["distance"]["identities_sgd_replayed"][201].max() < 1e-9
    assert found.scores["distance"]["identities_sgd_constant"][201].max() > 1e-3
    assert found.scores["growth"]["identities_sgd_replayed"][201][-1] > 1.1
    assert registry.EXPERIMENTS["identities"].draw(found).axes[0].get_yscale() == "log"


def _with_units(name, seed, path):
    """A finished run with two measurements of two layers."""
    run = _finished(name, seed, path)
    units = {
        "frames": np.repeat([100, 200], 2),
        "updates": np.repeat([10, 20], 2),
        "seed": np.full(4, seed),
        "layer": np.array(["a", "b"] * 2),
        "dead": np.array([0.0, 0.2, 0.4, 0.6]),
    }
    run = run._replace(tables={**run.tables, "units": units})
    return _OneTask(*run)


class _OneTask(run_records.RunRecord):
    frames, frames_per_task = 200, 200


def test_a_revival_has_a_score_at_each_measurement(monkeypatch, tmp_path):
    calls = []
    found = [_with_units("revival", seed, tmp_path) for seed in (201, 202)]
    monkeypatch.setattr(contract.run_records, "find", lambda paths: found)
    runner = contract.Runner(lambda *x: calls.append(x), tmp_path, is_full=False, workers=1)
    outcome = registry.EXPERIMENTS["revival"].run(runner)
    assert {call[1][2] for call in calls} == {"--seeds=201,202,203,204,205"}
    assert outcome.positions == [10, 20]
    np.testing.assert_allclose(outcome.scores["dead"]["revival"][202], [0.1, 0.5])


def test_abruptness_is_probed_after_the_runs(monkeypatch, tmp_path):
    calls = []
    found = [
        _finished("relabelled_in_1", seed, tmp_path)._replace(path=tmp_path / str(seed))
        for seed in (1, 2)
    ]
    for run in found:
        run.path.mkdir()
        (run.path / "probe.csv").write_text("frames,mean_loss_ratio\n200,2\n200,8\n")
    monkeypatch.setattr(contract.run_records, "find", lambda paths: found)
    runner = contract.Runner(lambda *x: calls.append(x), tmp_path, is_full=False, workers=1)
    outcome = registry.EXPERIMENTS["abruptness"].run(runner)
    assert [call[0] for call in calls] == ["sweep"] * 3 + ["probe_plasticity"] * 2
    assert [f"--run_dir={run.path}" for run in found] == [call[1][0] for call in calls[3:]]
    np.testing.assert_allclose(outcome.scores["probe"]["relabelled_in_1"][2], [4.0])
    np.testing.assert_allclose(outcome.scores["accuracy"]["relabelled_in_1"][2], [0.7])


def _finished(name, seed, path):
    """A run of two tasks, with another file of norms than its like."""
    config = {
        "name": name,
        "seed": seed,
        "num_seeds": 1,
        "num_frames": 200,
        "environment": {},
        "optimizer": {"schedule": {"norms_file": str(path)}},
    }
    train = {
        "frames": np.array([100, 200]),
        "seed": np.full(2, seed),
        "task": np.arange(2),
        "loss": np.ones(2),
        "accuracy": np.array([0.2, 0.7]),
    }
    return _Run(path, config, {"train": train}, [])
