"""Whole distributed runs: a real replay server, two actors, a learner, and what is done to them.

Needs the replay server's environment: make replay-env.
"""

import importlib
import os
import random
import signal
import time

import jax
import numpy as np
import pytest

from benchmarks import replay_audit, tcp_proxy
from benchmarks.launched_run import REPLAY_PYTHON, Launch
from replay.reverb import connection
from replay.reverb.writing import actor_journal
from tests import waiting
from training.acting import policy
from training.checkpoints import snapshot

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not REPLAY_PYTHON.exists(), reason="no replay server's environment: make replay-env"
    ),
]

GAMMA = 0.99
# Frames of a run that is stopped before its end, however fast the machine is.
UNREACHED = 1_000_000


def _counters(run_dir):
    return snapshot.verify(snapshot.list_saved(run_dir / "snapshots")[0])


def _values(run_dir, observations):
    """Mean q-values over noise, [B, A], of the newest snapshot."""
    player = policy.load(run_dir)
    rngs = jax.random.split(jax.random.key(0), 100)
    x = np.array(observations, np.float32)[:, None]
    outputs = jax.vmap(lambda rng: player.agent.apply(player.params, rng, x))(rngs)
    return np.mean(getattr(outputs, "q_values", outputs), axis=0)


def _continued(run_dir, frames):
    """How long a stopped run is with this many frames more than its actors have played."""
    played = 0
    for path in (run_dir / "actors").iterdir():
        with actor_journal.Journal(path) as journal:
            played += journal.counters["frames"]
    return -(-(played + frames) // 1_000) * 1_000


def _check_accounts(launch, num_frames, idle_frames, period_frames):
    """All frames, all their updates, each episode once."""
    counters = _counters(launch.run_dir)
    assert counters["frames"] == num_frames
    assert counters["updates"] == (num_frames - idle_frames) // period_frames
    episodes = [(row["journal"], int(row["episode"])) for row in launch.rows("episodes")]
    assert len(set(episodes)) == len(episodes)
    frames = [int(row["frames"]) for row in launch.rows("train")]
    assert frames == sorted(set(frames))
    return counters


@pytest.mark.parametrize("agent", ["rainbow", "dqn"])
def test_learns_a_probe_as_one_process_does(tmp_path, agent):
    """Policy and values depend on the observation; see test_probe_learning."""
    with Launch(tmp_path / "run", f"configs/probe.py:{agent}:5") as launch:
        assert launch.wait(900) == 0
        _check_accounts(launch, 6_000, 100, 4)
    values = _values(tmp_path / "run", [-1.0, 1.0])
    np.testing.assert_allclose(values, [[1.0, -1.0], [-1.0, 1.0]], atol=0.25)


def test_goes_on_when_any_process_is_killed_and_when_all_are(tmp_path):
    """Each at a random moment, the server before its first checkpoint; then everything at once.

    The run is continued with one actor, which sends what the other one has left.
    """
    moments = random.Random(0)
    changes = {
        "num_frames": UNREACHED,
        "replay.capacity": UNREACHED,  # none is dropped, so that they can be counted
        "snapshot.period_frames": 1_000,
        "evaluation.period_frames": 4_000,
        "evaluation.episodes": 2,
        "distributed.journal_segment_mb": 0.02,
        "distributed.decoder_processes": 2,
    }
    with Launch(tmp_path / "run", "configs/probe.py:5", **changes) as launch:
        launch.wait_for(400, 900)
        decoders = launch.decoders()
        assert len(decoders) == 2
        os.kill(decoders[0], signal.SIGKILL)
        launch.wait_for(launch.frames() + 200, 900)
        frames = launch.frames()
        for label in ("server", "actor_0", "learner", "actor_1", "evaluator"):
            time.sleep(moments.uniform(0.2, 1.5))
            launch.kill(label)
        launch.wait_for(frames + 1_000, 900)
        # The frames may be those of the snapshot, before the learner has reached the server.
        waiting.wait_for(launch.decoders)
        decoders = launch.decoders()
        restarted = {row["role"] for row in launch.rows("restarts")}
        launch.kill_all()
    waiting.wait_for(lambda: not any(map(waiting.is_alive, decoders)), 600)
    assert {"actor_0", "learner", "actor_1"} <= restarted
    assert restarted & {"replay", "replay_0"}
    changes["num_frames"] = num_frames = _continued(tmp_path / "run", 8_000)
    with Launch(tmp_path / "run", "configs/probe.py:5", actors=1, **changes) as launch:
        assert launch.wait(900) == 0
        _check_accounts(launch, num_frames, 100, 4)
        found = replay_audit.audit(launch)
    # Files were dropped, of transitions that a checkpoint has.
    segments = sorted((tmp_path / "run" / "actors" / "0").glob("*.segment"))
    assert int(segments[0].stem) > 1
    assert found.stored == found.journaled
    assert (found.lost, found.doubled) == (0, 0)
    values = _values(tmp_path / "run", [-1.0, 1.0])
    np.testing.assert_allclose(values, [[1.0, -1.0], [-1.0, 1.0]], atol=0.25)


@pytest.mark.parametrize("period_frames", [300, 5_000])
def test_a_full_replay_is_restarted_as_often_as_you_like(tmp_path, period_frames):
    """Several checkpoint periods in it, or a period that is longer than what it holds."""
    changes = {
        "num_frames": UNREACHED,
        "replay.capacity": 1_000,
        "log.period_frames": 1_000,
        "evaluation.period_frames": 0,
        "snapshot.period_frames": period_frames,
    }
    with Launch(tmp_path / "run", "configs/probe.py:3", actors=1, **changes) as launch:
        launch.wait_for(2_000, 900)
        launch.kill("server")
        launch.wait_for(launch.frames() + 500, 900)
        launch.kill_all()
    with Launch(tmp_path / "run", "configs/probe.py:3", actors=1, **changes) as launch:
        launch.wait_for(4_000, 900)
        launch.process.send(signal.SIGTERM)
        assert launch.wait(900) == 3
    changes["num_frames"] = num_frames = _continued(tmp_path / "run", 2_000)
    with Launch(tmp_path / "run", "configs/probe.py:3", actors=1, **changes) as launch:
        assert launch.wait(900) == 0
        _check_accounts(launch, num_frames, 100, 4)
        assert max(int(row["frames"]) for row in launch.rows("train")) == num_frames
        found = replay_audit.audit(launch)
    assert (found.expected, found.stored) == (1_000, 1_000)
    assert (found.lost, found.doubled) == (0, 0)


def test_goes_on_after_the_network_to_the_server_was_cut(tmp_path):
    """Connections are dropped and refused for a while; then they freeze without a word.

    Everyone comes to the server through a proxy, once its address is in the place of the server's.
    """
    changes = {
        "num_frames": UNREACHED,
        "replay.capacity": UNREACHED,
        "evaluation.period_frames": 0,
    }
    with Launch(tmp_path / "run", "configs/probe.py:5", **changes) as launch:
        launch.wait_for(200, 900)
        file = tmp_path / "run" / "replay" / "address"
        with tcp_proxy.TcpProxy(connection.read_address(file).address) as proxy:
            connection.publish_address(file, proxy.address)
            frames = launch.frames()
            for label in ("learner", "actor_0", "actor_1"):
                launch.kill(label)
            launch.wait_for(frames + 300, 900)
            for cut in (proxy.drop, proxy.freeze):
                cut()
                time.sleep(2.0)
                frames = launch.frames()
                time.sleep(5.0)
                # What was on its way may still be learned from, and what the credit allows.
                assert launch.frames() < frames + 1_000
                proxy.restore()
                launch.wait_for(frames + 800, 900)
            launch.process.send(signal.SIGTERM)
            assert launch.wait(900) == 3
    changes["num_frames"] = num_frames = _continued(tmp_path / "run", 2_000)
    with Launch(tmp_path / "run", "configs/probe.py:5", **changes) as launch:
        assert launch.wait(900) == 0
        _check_accounts(launch, num_frames, 100, 4)
        found = replay_audit.audit(launch)
    assert (found.lost, found.doubled) == (0, 0)


def test_plays_a_game_and_is_stopped_and_continued(tmp_path):
    """Atari frames in stacks, the evaluation, layers, and a clean stop by SIGTERM."""
    changes = {
        "num_frames": UNREACHED,
        "num_envs": 4,
        "replay.min_size": 500,
        "log.period_frames": 1_000,
        "log.layers_period_frames": 2_000,
        "snapshot.period_frames": 100_000,
        "evaluation.period_frames": 4_000,
        "evaluation.episodes": 1,
        "environment.max_episode_frames": 2_000,
        "training.update_period_frames": 20,
        "distributed.decoder_processes": 2,
    }
    config = "configs/data_efficient_nap.py:pong"
    with Launch(tmp_path / "run", config, **changes) as launch:
        launch.wait_for(2_500, 900)
        launch.process.send(signal.SIGTERM)
        assert launch.wait(900) == 3
        assert not launch.roles()
    stopped_at = _counters(tmp_path / "run")["frames"]
    assert stopped_at >= 2_500
    changes["num_frames"] = num_frames = _continued(tmp_path / "run", 2_000)
    with Launch(tmp_path / "run", config, **changes) as launch:
        assert launch.wait(900) == 0
        _check_accounts(launch, num_frames, 2_000, 20)
        assert {row["game"] for row in launch.rows("train")} == {"pong"}
        assert len(launch.rows("evaluation")) >= 1
        norms = [float(r["norm"]) for r in launch.rows("layers") if r["layer"] == "value_hidden"]
        assert np.ptp(norms) / norms[0] < 1e-5


def test_a_sequence_of_games_goes_on_with_all_actors(tmp_path):
    """The learner owns the schedule: actors follow it, the replay is cleared, updates add up."""
    changes = {
        "num_frames": 9_000,
        "num_envs": 2,
        "environment.games": "('pong', 'breakout')",
        "environment.frames_per_game": 3_000,
        "environment.max_episode_frames": 1_000,
        "replay.min_size": 250,
        "log.period_frames": 500,
        "log.layers_period_frames": 0,
        "evaluation.period_frames": 3_000,
        "evaluation.episodes": 1,
        "evaluation.max_episode_frames": 400,
        "training.update_period_frames": 20,
        "training.target_update_period_frames": 2_000,
        "task_switch.clear_replay": True,
        "distributed.max_unconfirmed": 4,
        "distributed.credit_frames": 200,
    }
    with Launch(tmp_path / "run", "configs/continual_rainbow.py:small", **changes) as launch:
        assert launch.wait(900) == 0
        counters = _counters(tmp_path / "run")
        games = [row["game"] for row in launch.rows("train")]
        evaluated = [(row["game"], int(row["frames"])) for row in launch.rows("evaluation")]
    assert counters["task"] == 2
    assert [g for i, g in enumerate(games) if i == 0 or g != games[i - 1]] == [
        "pong",
        "breakout",
        "pong",
    ]
    # Three games of 3000 frames, each with all its updates.
    assert counters["frames"] == 9_000
    assert counters["updates"] == 3 * 3_000 // 20
    assert counters["first_task"] == 2
    # Each with what it ends with, for which the learner waits.
    assert evaluated == [("pong", 3_000), ("breakout", 6_000), ("pong", 9_000)]


def test_configs_have_what_a_distributed_run_asks_for():
    for name in ("rainbow", "probe", "cartpole", "continual_nap", "data_efficient"):
        config = importlib.import_module(f"configs.{name}").get_config()
        assert config.distributed.chunk_length == 4
