"""Processes on a Ray cluster of several nodes, all of them on this machine."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from core import checks
from tests import waiting

ray = pytest.importorskip("ray", reason="Ray is not installed: the extra `ray`")

from ray import cluster_utils  # noqa: E402

from cluster.supervision import (  # noqa: E402
    ray_processes,
    ray_roles,
    supervised_process,
    supervisor,
)
from cluster.supervision.ray_processes import RayProcess  # noqa: E402
from cluster.sweeps import sweep, sweep_jobs, sweep_record  # noqa: E402
from training.system import exit_codes  # noqa: E402

_ROOT = Path(__file__).parents[3]
_NODE = {"num_cpus": 2, "object_store_memory": 80_000_000}
# The loss of a node is noticed after half a minute otherwise.
_HEALTH = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}

pytestmark = [
    # Ray leaves sockets and subprocesses to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:the load_module"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(scope="module")
def cluster():
    variables = pytest.MonkeyPatch()
    variables.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head = {**_NODE, "num_gpus": 1, "include_dashboard": False, "_system_config": _HEALTH}
    started = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    variables.setenv("RAY_ADDRESS", started.address)
    variables.setenv("JAX_TEST_OF_RAY", "passed on")
    variables.chdir(_ROOT)
    ray_processes.connect()
    yield started
    ray.shutdown()
    started.shutdown()
    variables.undo()


@pytest.fixture
def shell(cluster, tmp_path):
    """Starts shell scripts on the cluster; none is left there."""
    started = []

    def start(script: str, name: str = "log", **options) -> RayProcess:
        started.append(RayProcess(["/bin/sh", "-c", script], tmp_path / name, **options))
        return started[-1]

    yield start
    for process in started:
        process.send(signal.SIGKILL)
        process.wait()


def _first_line(process: RayProcess) -> str:
    waiting.wait_for(lambda: process.poll() is not None or process.lines())
    return process.lines()[0]


def test_command_has_its_environment_log_and_exit_code(shell, tmp_path):
    (tmp_path / "log").write_text("earlier\n")
    script = 'echo $JAX_TEST_OF_RAY, $PWD, {node_address}, "<$CUDA_VISIBLE_DEVICES>"; exit 7'
    without, with_one = shell(script), shell(script, "other", num_gpus=1)
    assert (without.wait(), with_one.wait()) == (7, 7)
    address = ray.util.get_node_ip_address()
    assert without.lines() == [f"passed on, {_ROOT}, {address}, <>"]
    assert with_one.lines() == [f"passed on, {_ROOT}, {address}, <0>"]
    assert (tmp_path / "log").read_text().startswith("earlier\n")
    assert without.seconds < 600


def test_modules_are_found_on_a_node_as_they_are_here(shell, tmp_path, monkeypatch):
    """Those of a command that was given in one's own directory."""
    (tmp_path / "mine.py").write_text("print('found')")
    monkeypatch.setenv("PYTHONPATH", f"{_ROOT}:{tmp_path}")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    process = shell(f"echo $PYTHONSAFEPATH; cd /; {sys.executable} -c 'import cluster, mine'")
    assert process.wait() == 0
    assert process.lines() == ["1", "found"]


def test_signals(shell):
    process = shell("trap 'echo saved; exit 3' TERM; echo ready; while :; do sleep 0.02; done")
    assert _first_line(process) == "ready"
    assert process.poll() is None
    process.send(signal.SIGTERM)
    assert process.wait() == 3
    assert process.lines() == ["ready", "saved"]
    process.send(signal.SIGTERM)  # nothing happens

    process = shell("trap '' TERM; echo $$; while :; do sleep 0.02; done", "deaf")
    pid = int(_first_line(process))
    process.poll()
    process.send(signal.SIGTERM)
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not waiting.is_alive(pid)


def test_process_without_room_waits_and_can_be_ended(shell):
    process = shell("echo never", num_cpus=100)
    time.sleep(0.3)
    assert process.poll() is None
    process.send(signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    assert process.lines() == []


def test_process_dies_with_its_ray_process(shell):
    process = shell("echo $$; exec sleep 300")
    pid = int(_first_line(process))
    os.kill(_parent(pid), signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert "lost with its Ray process" in process.lines()[-1]
    waiting.wait_for(lambda: not waiting.is_alive(pid))


def test_command_that_cannot_be_started(cluster, tmp_path):
    (tmp_path / "file").write_text("")
    process = RayProcess(["/bin/true"], tmp_path / "file" / "log")
    assert process.wait() == -signal.SIGKILL
    assert "FileExistsError" in process.lines()[-1]


_KILLED = """
import os, pathlib, signal, sys, time
from cluster.supervision import ray_processes
ray_processes.connect()
log = pathlib.Path(sys.argv[1])
process = ray_processes.RayProcess(["/bin/sh", "-c", "echo $$; exec sleep 300"], log)
while not process.lines(): time.sleep(0.05)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_process_dies_with_the_one_that_started_it(cluster, tmp_path):
    log = tmp_path / "log"
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(log)], check=False)
    assert killed.returncode == -signal.SIGKILL
    waiting.wait_for(lambda: not waiting.is_alive(int(log.read_text())))


def test_nodes_are_found_by_their_address(cluster):
    address = ray.util.get_node_ip_address()
    assert ray_processes.node_at(address) in {node["NodeID"] for node in ray.nodes()}
    with pytest.raises(checks.ConfigError, match=rf"host = 'moon': expected a node .*: {address}"):
        ray_processes.node_at("moon")


# Roles.

_ROLES = (("replay", 0), ("learner", 0), ("actor", 0), ("actor", 1))
_WAIT = "trap 'exit 3' TERM; echo $$ $RAY_RAYLET_PID >> $LABEL; while :; do sleep 0.05; done"


def _raylet(node: Any) -> int:
    """The process that stands for a node of the cluster; its processes know it as such."""
    return node.all_processes["raylet"][0].process.pid


def test_roles_come_up_again_where_there_is_a_node(cluster, tmp_path):
    """One actor is killed, then the node of another is lost."""
    nodes = [cluster.add_node(**_NODE) for _ in range(2)]
    labels = ("replay", "learner", "actor_0", "actor_1")

    def command(name, index):
        label = f"{name}_{index}" if name == "actor" else name
        return ["/bin/sh", "-c", f"LABEL={tmp_path / label}; {_WAIT}"]

    def start(name, index, command, log):
        # Ray would put them all on one node, if that had room.
        node = nodes[index].node_id if name == "actor" else ray_processes.own_node()
        return RayProcess(command, log, node=node)

    def lives(label) -> list[tuple[int, int]]:
        """(process, node) of each life of a role."""
        path = tmp_path / label
        words = path.read_text().split() if path.exists() else []
        return list(zip(map(int, words[::2]), map(int, words[1::2])))

    def disturb():
        try:
            waiting.wait_for(lambda: all(map(lives, labels)))
            os.kill(lives("actor_0")[0][0], signal.SIGKILL)
            waiting.wait_for(lambda: len(lives("actor_0")) == 2)
            cluster.remove_node(nodes[1], allow_graceful=False)
            waiting.wait_for(lambda: len(lives("actor_1")) == 2)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    raylets = [_raylet(node) for node in nodes]
    thread = threading.Thread(target=disturb, daemon=True)
    thread.start()
    timing = supervised_process.Timing(poll=0.05, first_delay=0.1, grace=10)
    running = supervisor.Supervisor(_ROLES, command, tmp_path, 100.0, start, timing)
    assert running.run() == exit_codes.STOPPED
    thread.join()
    assert [len(lives(label)) for label in labels] == [1, 1, 2, 2]
    assert [node for _, node in lives("actor_0")] == [raylets[0], raylets[0]]
    first, second = (node for _, node in lives("actor_1"))
    assert first == raylets[1]
    assert second in (raylets[0], _raylet(cluster.head_node))
    assert {lives(label)[0][1] for label in labels[:2]} == {_raylet(cluster.head_node)}
    assert not any(waiting.is_alive(pid) for label in labels for pid, _ in lives(label))
    rows = (tmp_path / "restarts.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["actor_0", "actor_1"]


@pytest.mark.parametrize(
    ("num_gpus", "learner", "other", "expected"),
    [
        (0, "auto", "cpu", (0.0, 0.0)),
        (0, "auto", "auto", (0.0, 0.0)),
        (4, "auto", "cpu", (1.0, 0.0)),
        (4, "cpu", "cpu", (0.0, 0.0)),
        (1, "gpu", "gpu", (0.5, 0.1)),
        (2, "gpu", "gpu", (1.0, 0.2)),
        (4, "gpu", "auto", (1.0, 0.5)),
        (2, "cpu", "gpu", (0.0, 1 / 3)),
    ],
)
def test_gpus_of_the_roles(num_gpus, learner, other, expected):
    assert ray_roles.share_gpus(num_gpus, learner, other, 5) == pytest.approx(expected)


@pytest.mark.parametrize("platforms", [("gpu", "cpu"), ("auto", "gpu")])
def test_no_gpu(platforms):
    with pytest.raises(checks.ConfigError, match="'gpu': the Ray cluster has no GPU"):
        ray_roles.share_gpus(0, *platforms, 5)


def test_starter_of_roles(cluster, tmp_path):
    config = sweep_jobs.load(sweep_jobs.Job("configs/probe.py", "1", 1))
    start = ray_roles.starter(config, 2, None)
    script = "echo $RAY_RAYLET_PID '<'$CUDA_VISIBLE_DEVICES'>'"
    started = {
        name: start(name, 0, ["/bin/sh", "-c", script], tmp_path / name)
        for name in ("replay", "learner", "actor")
    }
    assert [process.wait() for process in started.values()] == [0, 0, 0]
    assert started["replay"].lines() == [f"{_raylet(cluster.head_node)} <>"]
    assert started["learner"].lines()[0].endswith("<0>")
    assert started["actor"].lines()[0].endswith("<>")


def test_sweep_on_the_cluster(cluster, tmp_path):
    grid = sweep_jobs.Grid(["configs/probe.py"], [], [1, 2, 3])
    record = sweep_record.SweepRecord(tmp_path)
    record.begin(grid, grid.jobs())

    def command(job, root):
        script = f"mkdir -p {root / job.name}; echo seed; exit {5 if job.seed == 2 else 0}"
        return ["/bin/sh", "-c", script]

    work = sweep.Sweep(
        tmp_path,
        grid.jobs(),
        record,
        exit_codes.STOPPED,
        command,
        lambda command, log, cores: RayProcess(command, log),
    )
    state = sweep_record.RunState
    assert work.run(2, report_seconds=60) == [state.FINISHED, state.FAILED, state.FINISHED]
    assert (tmp_path / "probe/default/seed_3.log").read_text() == "seed\n"


# Errors of the user.


_LAUNCH = ("launch", "--config=configs/probe.py:1", f"--replay_python={sys.executable}", "run_dir")
_SWEEP = ("sweep", "--configs=configs/probe.py", "--games=1", "root")


@pytest.mark.parametrize(
    ("call", "address"),
    [(_LAUNCH, "127.0.0.1:1"), (_LAUNCH, "moon"), (_SWEEP, "127.0.0.1:1")],
)
def test_no_cluster(tmp_path, call, address):
    program, *flags, place = call
    flags.append(f"--{place}={tmp_path / 'new'}")
    result = subprocess.run(
        [sys.executable, "-m", f"scripts.{program}", *flags, "--cluster=ray"],
        cwd=_ROOT,
        env={**os.environ, "RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == exit_codes.REFUSED, result.stderr
    assert f"error: cluster = 'ray': no cluster at RAY_ADDRESS = '{address}'" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "new").exists()


def test_without_ray():
    code = "import sys; sys.modules['ray'] = None; from cluster.supervision import ray_processes"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    last = result.stderr.splitlines()[-1]
    assert last.startswith("core.checks.ConfigError: cluster = 'ray': Ray is not installed")
    assert "extra `ray`" in last
