"""The scripts as a user calls them: a small real training, then everything on its snapshot."""

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest

from tests.scripts.calling import call, error_of
from training.system import exit_codes

_ROOT = Path(__file__).parents[2]

_SMALL = {
    "num_envs": 2,
    "num_frames": 1_600,
    "replay.capacity": 300,
    "replay.min_size": 100,
    "transition.n_step": 3,
    "network.head.hidden_size": 16,
    "training.update_period_frames": 32,
    "training.target_update_period_frames": 320,
    "environment.max_episode_frames": 400,
    "log.period_frames": 400,
    "log.layers_period_frames": 800,
    "evaluation.period_frames": 800,
    "evaluation.episodes": 2,
    "snapshot.period_frames": 800,
}
_TRAIN = (
    "train",
    "--config=configs/data_efficient_nap.py:breakout",
    *(f"--config.{key}={value}" for key, value in _SMALL.items()),
)


_ROOTS = {"train": "run_dir", "sweep": "root"}
_PROBE = "--config=configs/probe.py:1"
_CARTPOLE = "--config=configs/cartpole.py"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    result = call(*_TRAIN, f"--run_dir={path}")
    assert result.returncode == 0, result.stderr
    return path


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_training_writes_what_the_readme_lists(run_dir):
    for name in ("train", "episodes", "evaluation", "layers", "norms_seed_1"):
        assert _rows(run_dir / f"{name}.csv"), name
    assert (run_dir / "provenance.jsonl").read_text().count("\n") == 1
    assert list((run_dir / "tensorboard").iterdir())
    assert len(list((run_dir / "snapshots").iterdir())) == 2


def test_finished_run_has_nothing_left_to_do(run_dir):
    before = (run_dir / "train.csv").read_bytes()
    result = call(*_TRAIN, f"--run_dir={run_dir}")
    assert result.returncode == 0, result.stderr
    assert (run_dir / "train.csv").read_bytes() == before


def test_evaluate_on_another_protocol(run_dir, tmp_path):
    output = tmp_path / "evaluation.csv"
    arguments = (f"--run_dir={run_dir}", "--episodes=3", "--num_envs=2", "--protocol=machado")
    result = call("evaluate", *arguments, f"--output={output}")
    assert result.returncode == 0, result.stderr
    rows = _rows(output)
    assert len(rows) == 3
    assert {(row["game"], row["protocol"]) for row in rows} == {("breakout", "machado")}
    again = error_of(call("evaluate", *arguments, f"--output={output}"))
    assert "exists already" in again


def test_evaluate_on_a_game_that_was_not_trained_on(run_dir):
    error = error_of(call("evaluate", f"--run_dir={run_dir}", "--game=pong"))
    assert "game = 'pong': expected one of breakout" in error


def test_report_on_a_run(run_dir, tmp_path):
    output = tmp_path / "report"
    result = call("report", f"--output={output}", "--title=One run", str(run_dir))
    assert result.returncode == 0, result.stderr
    assert "<title>One run</title>" in (output / "index.html").read_text()
    assert (output / "single_curves.png").stat().st_size > 10_000
    again = error_of(call("report", f"--output={output}", str(run_dir)))
    assert "not empty, not overwritten" in again
    nothing = error_of(call("report", f"--output={tmp_path / 'other'}", str(tmp_path / "none")))
    assert "expected a directory with runs" in nothing


@pytest.fixture(scope="module")
def policy(run_dir) -> Path:
    path = run_dir.with_name("policy.npz")
    result = call("export_policy", f"--run_dir={run_dir}", f"--output={path}")
    assert result.returncode == 0, result.stderr
    return path


def test_evaluation_of_a_run_and_of_its_policy_are_the_same(run_dir, policy, tmp_path):
    outputs = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for output, source in zip(outputs, (f"--run_dir={run_dir}", f"--policy={policy}")):
        call("evaluate", source, "--episodes=2", f"--output={output}")
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_record_makes_a_film(run_dir, policy, tmp_path):
    begins = {"film.mp4": b"....ftyp", "film.gif": b"GIF89a"}
    for name, source in zip(begins, (f"--run_dir={run_dir}", f"--policy={policy}")):
        output = tmp_path / name
        result = call("record", source, f"--output={output}", "--max_steps=30")
        assert result.returncode == 0, result.stderr
        assert output.stat().st_size > 2_000
        assert re.match(begins[name], output.read_bytes(), re.DOTALL)


def test_one_policy_is_named(run_dir, policy):
    both = (f"--run_dir={run_dir}", f"--policy={policy}")
    for arguments, expected in (
        (both, "run_dir, policy: expected one of the two, both are given"),
        ((), "run_dir, policy: expected one of the two, neither is given"),
        ((both[1], "--snapshot=800"), "snapshot = 800: expected none with --policy"),
        (("--policy=pyproject.toml",), "expected a file that scripts.export_policy wrote"),
    ):
        assert expected in error_of(call("record", *arguments))


def test_plot_draws_a_picture(run_dir, tmp_path):
    output = tmp_path / "curve.png"
    result = call("plot", "--layers", f"--output={output}", str(run_dir))
    assert result.returncode == 0, result.stderr
    picture = matplotlib.image.imread(output)
    assert picture.shape[1] > 1_000
    assert picture[..., :3].std() > 0.05


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--config is missing"),
        (("--config=configs/nothing.py",), "nothing.py"),
        (("--config=configs/rainbow.py:ponng",), "environment.game = 'ponng'"),
        (
            ("--config=configs/rainbow.py", "--config.replay.capacty=3"),
            "--config.replay.capacty=3: unknown key 'capacty'",
        ),
        (("--config=configs/rainbow.py", "--config.replay.capacity=many"), "capacity=many"),
        (("--config=configs/rainbow.py", "--config.num_envs=0"), "num_envs = 0: expected"),
        ((_PROBE, "--config.num_frames=1e3"), "--config.num_frames=1e3: expected an integer"),
        ((_PROBE, "--config.log.tensorboard=maybe"), "tensorboard=maybe: expected true or false"),
        (
            (_PROBE, "--config.transition.discount=big"),
            "--config.transition.discount=big: expected a number",
        ),
        ((_PROBE, "--config.network.torso.hidden_sizes=a"), "hidden_sizes = ('a',): expected a"),
        ((_PROBE, "--config.replay={}"), "--config.replay={}: expected its keys one by one"),
        ((_PROBE, "--config.optimizer.schedule=linear"), "schedule=linear: expected its keys"),
        ((_PROBE, "--config.agent.module=.dqn"), "agent.module = '.dqn': expected the name of a"),
        (("--config=configs/probe.py:9",), "environment.probe = 9: expected one of"),
        (("--config=configs/probe.py:x",), "configs/probe.py:x: probe = 'x': expected a number"),
        (("--config=configs/continual_rainbow.py:tiny",), "size = 'tiny': expected 'full' or"),
        (("--config=README.md",), "--config=README.md: expected a Python file that defines"),
        (("--config=core/checks.py",), "expected a Python file that defines get_config"),
        (("--config=configs",), "--config: "),
        (("--config=configs/cartpole.py:none:X-v0",), "environment.id = 'none:X-v0'"),
        (("--config=configs/cartpole.py:Pendulum-v1",), "expected a Discrete space"),
        ((_CARTPOLE, "--config.environment.kwargs=3"), "kwargs=3: expected a dict in quotes"),
        ((_CARTPOLE, "--config.environment.kwargs={'x': 3}"), "environment.kwargs = {'x': 3}"),
        ((_CARTPOLE, "--config.environment.kwargs={'render_mode': 'human'}"), "no 'render_mode'"),
        ((_PROBE, "--config.replay.capacity=1_000_000_000", "--config.num_seeds=1000"), "capacity"),
        (("--config=configs/rainbow.py", "surplus"), "'surplus'"),
        (("--config=configs/rainbow.py", "--fast"), "'fast'"),
    ],
)
def test_bad_arguments_of_train(tmp_path, arguments, expected):
    path = tmp_path / "run"
    assert expected in error_of(call("train", *arguments, f"--run_dir={path}"))
    assert not path.exists()


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("dict(name='mine')", "get_config: expected it to return a ConfigDict, found a dict"),
        ("None", "get_config: expected it to return a ConfigDict, found a NoneType"),
        ("ml_collections.ConfigDict({'platform': 'cpu'})", "config.name is missing: expected all"),
    ],
)
def test_a_config_file_that_makes_no_configuration(tmp_path, made, expected):
    file = tmp_path / "mine.py"
    file.write_text(f"import ml_collections\n\ndef get_config():\n    return {made}\n")
    for script, flag in (("train", f"--config={file}"), ("sweep", f"--configs={file}")):
        error = error_of(call(script, flag, f"--{_ROOTS[script]}={tmp_path / 'root'}"))
        assert expected in error
        assert not (tmp_path / "root").exists()


def test_interrupt_is_told_in_one_line():
    program = "import scripts; raise KeyboardInterrupt"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert result.stderr == "interrupted\n"
    assert result.returncode in (-signal.SIGINT, 130)


def test_who_reads_the_output_may_stop_early():
    command = [sys.executable, "-m", "scripts.claim", "--list"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=_ROOT
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 1


def test_gpu_that_is_not_there(tmp_path):
    arguments = ("--config=configs/rainbow.py", "--config.platform=gpu")
    result = call("train", *arguments, f"--run_dir={tmp_path / 'run'}", JAX_PLATFORMS="cpu")
    assert "platform = 'gpu': no such device" in error_of(result)


def test_directory_of_another_run_is_refused_and_left_alone(run_dir):
    before = {path: path.read_bytes() for path in run_dir.glob("*.*") if path.is_file()}
    message = error_of(call(*_TRAIN, "--config.transition.discount=0.5", f"--run_dir={run_dir}"))
    assert "transition.discount is 0.99 there, asked for 0.5" in message
    assert {path: path.read_bytes() for path in before} == before


def test_directory_with_other_files_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    assert "holds no run" in error_of(call(*_TRAIN, f"--run_dir={tmp_path}"))


def test_full_disk_ends_in_one_line_and_keeps_the_snapshot_before(tmp_path):
    """The file size limit of the process stands in for the full disk: writing fails."""
    path = tmp_path / "run"
    first = call(*_TRAIN, "--config.num_frames=800", f"--run_dir={path}")
    assert first.returncode == 0, first.stderr
    message = error_of(call(*_TRAIN, f"--run_dir={path}", limit_bytes=100_000))
    assert "snapshot not written" in message
    assert [p.name for p in (path / "snapshots").iterdir()] == ["000000000800"]


def test_finished_run_with_a_schedule_can_be_made_longer(tmp_path):
    """What follows its length does so again, and training goes on."""
    arguments = ("--config=configs/probe.py:2", "--config.optimizer.schedule.name=linear")
    arguments += ("--config.log.period_frames=400", f"--run_dir={tmp_path / 'run'}")
    assert call("train", *arguments, "--config.num_frames=800").returncode == 0
    longer = call("train", *arguments, "--config.num_frames=1200")
    assert longer.returncode == 0, longer.stderr
    assert "optimizer.schedule.duration follows num_frames: 300 (was 200)" in longer.stderr
    rows = _rows(tmp_path / "run" / "train.csv")
    assert [int(row["frames"]) for row in rows] == [400, 800, 1200]
    # 100 frames fill the replay; from 1e-3 to 1e-6 in 200 updates, then in 300. The rate of the
    # last update, before which one less was done.
    rates = [1e-3 - (1e-3 - 1e-6) * share for share in (74 / 200, 174 / 200, 274 / 300)]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(rates, rel=1e-4)
    starts = (tmp_path / "run" / "provenance.jsonl").read_text().splitlines()
    resolved = [json.loads(line)["resolved"] for line in starts]
    assert [values["optimizer.schedule.duration"] for values in resolved] == [200, 300]
    given = json.loads((tmp_path / "run" / "config.json").read_text())
    assert given["optimizer"]["schedule"]["duration"] is None


def test_training_ends_at_a_number_that_is_not_finite(tmp_path):
    """A learning rate of 1e34 from update 700 on, at frame 2900; the last good snapshot stays."""
    rate = {"name": "piecewise", "boundaries": "(700,)", "scales": "(1e37,)"}
    arguments = (
        "--config=configs/probe.py:4",
        "--config.snapshot.period_frames=1000",
        *(f"--config.optimizer.schedule.{key}={value}" for key, value in rate.items()),
        f"--run_dir={tmp_path / 'run'}",
    )
    first, again = call("train", *arguments), call("train", *arguments)
    for result in (first, again):
        assert result.returncode == exit_codes.NOT_FINITE, result.stderr
        assert "finished" not in result.stderr
        assert "Traceback" not in result.stderr
    errors = [
        [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        for result in (first, again)
    ]
    assert errors[0] == errors[1]
    (message,) = errors[0]
    # The update before has led to parameters that make this one's loss nan.
    assert message.startswith("error: loss = nan at frame 2908, update 702, seed 1: expected")
    saved = sorted(int(path.name) for path in (tmp_path / "run" / "snapshots").iterdir())
    assert saved == [1000, 2000]


@pytest.mark.parametrize("script", ["evaluate", "record"])
def test_no_such_run_or_snapshot(run_dir, tmp_path, script):
    assert "run_dir" in error_of(call(script, f"--run_dir={tmp_path / 'none'}"))
    message = error_of(call(script, f"--run_dir={run_dir}", "--snapshot=7"))
    assert "snapshot = 7: expected one of" in message


def test_plot_without_run_or_with_a_bad_ending(run_dir, tmp_path):
    assert "expected the directory of a run" in error_of(call("plot", str(tmp_path)))
    assert ".xyz" in error_of(call("plot", f"--output={tmp_path / 'a.xyz'}", str(run_dir)))


def test_plot_shown_without_a_display(run_dir):
    result = call("plot", "--show", str(run_dir), DISPLAY="", WAYLAND_DISPLAY="")
    assert "show: no display" in error_of(result)


def test_package_that_is_not_installed_is_told_in_one_line():
    program = "import scripts; import jax_of_next_year.parts"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: no package 'jax_of_next_year' in ")
    assert "`make setup`" in line
    assert result.returncode == 1


def test_doctor_says_what_fails_and_what_fits():
    arguments = (_PROBE, "--seconds=0", "--replay_python=/nothing")
    good = call("doctor", *arguments)
    assert good.returncode == 0, good.stderr
    assert [line.split()[0] for line in good.stdout.splitlines()] == ["ok"] * 8 + ["warn"]
    large = ("--config.replay.capacity=1_000_000_000", "--config.num_seeds=1000")
    bad = call("doctor", *arguments, *large)
    assert bad.returncode == 1
    (line,) = [line for line in bad.stdout.splitlines() if line.startswith("fail")]
    assert "replay.capacity = 1000000000: expected at most" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("collect", _CARTPOLE, "--output=x.npz", "--epsilon=nan"), "--epsilon=nan: expected a"),
        (("collect", _CARTPOLE, "--output=x.npz", "--epsilon=0.1"), "only with --run_dir"),
        (("report", "--output=x", "--threshold=inf", "runs"), "--threshold=inf: expected a finite"),
        (("launch", _PROBE, "--index=1"), "index = 1: expected only with --role"),
        (("sweep", "--root=x", "--gpus_per_run=1"), "expected only with --cluster=ray"),
        (("sweep", "--root=x", "--configs=configs/probe.py:1", "--games=2"), "arguments = '2'"),
        (("claim", "--list", "N15"), "claim = 'N15': expected none with --list"),
        (("identities", "--problems=", "--output=x"), "problems = : expected integers"),
    ],
)
def test_flags_that_would_mean_nothing_are_refused(arguments, expected):
    assert expected in error_of(call(*arguments))


def test_steps_of_another_environment_are_not_collected(run_dir, tmp_path):
    arguments = ("--steps=4", f"--output={tmp_path / 'steps.npz'}", f"--run_dir={run_dir}")
    for config in (_CARTPOLE, "--config=configs/data_efficient_nap.py:pong"):
        message = error_of(call("collect", config, *arguments))
        assert "with the observations and actions of --config; it has played breakout" in message
    result = call("collect", "--config=configs/data_efficient_nap.py:breakout", *arguments)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "steps.npz").exists()


@pytest.mark.parametrize("script", ["evaluate", "record"])
def test_help_says_how_to_choose_a_policy(script):
    told = call(script, "--help").stdout
    assert all(f"--{flag}:" in told for flag in ("run_dir", "policy", "snapshot", "seed_index"))


def test_supervised_streams_have_a_script_by_their_name():
    message = error_of(call("supervised", "--config=configs/supervised/random_labels.py:x"))
    assert "arm = 'x': expected 'plain' or 'ln' or 'nap'" in message
