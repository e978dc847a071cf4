"""Speed of the replay's wire client against the official one, in turn, on the same server.

make replay-env && python -m benchmarks.replay_wire --output=wire.json

Each client has a process of its own, this file run as a worker: ours here, the official one in the
replay server's environment. Ours decodes in a thread or, as a separate client, in processes. The
turns alternate, their order swapped every repeat, while the others wait; a turn is timed from its
first batch on. Absolute speeds are this machine's; the ratio, taken within each repeat, is the
result.

Items are like Rainbow's: the frames of a stack of 4 and 3 steps, and a record of action, return,
discount and number of steps; chunks of 4 steps of one of 8 environments; 64 unconfirmed items at
most; batches of 32, 4 of them in flight. Both clients turn steps into such items, and items into
batches of two stacks each; with priorities, they send a new one per item.
"""

import argparse
import collections
import contextlib
import importlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np

from benchmarks import machine

_ROOT = machine.ROOT
_READING = ("read", "read_and_prioritize")
_JOBS = ("write", *_READING)
# What each client is asked to do.
_CLIENTS = {"thread": _JOBS, "processes": _READING, "official": _JOBS}
_TABLE = {
    "name": "transitions",
    "kind": "prioritized",
    "max_size": 20_000,
    "min_size": 1,
    "priority_exponent": 1.0,
}
_NUM_ENVS, _STACK, _N_STEP, _DISCOUNT, _CHUNK = 8, 4, 3, 0.99, 4
_WINDOW = _STACK + _N_STEP
_PENDING, _BATCH = 64, 32
_START_S = 120.0

# A job works for about the given seconds and returns how many items it did per second.
Job = Callable[[float], float]


def main() -> None:
    """Measures and prints the table, or is a worker."""
    parser = argparse.ArgumentParser(prog="benchmarks.replay_wire", allow_abbrev=False)
    parser.add_argument("--replay_python", type=Path, default=_ROOT / ".venv-replay/bin/python")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each")
    parser.add_argument("--processes", type=int, default=2, help="that decode")
    parser.add_argument("--prefetch", type=int, default=4, help="batches in flight, of all clients")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--worker", choices=list(_CLIENTS), help=argparse.SUPPRESS)
    parser.add_argument("--server", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        _work(_jobs(args.worker, args.server, args.prefetch, args.processes))
        return
    if not args.replay_python.exists():
        parser.error(
            f"replay_python = {str(args.replay_python)!r}: expected what make replay-env makes"
        )
    with tempfile.TemporaryDirectory() as directory:
        report = _measure(args, Path(directory))
    _show(report)
    if args.output:
        args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _measure(args: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Items per second of every job, by client, one per repeat."""
    server, address = _start_server(args.replay_python, directory)
    settings = {"server": address, "prefetch": args.prefetch, "processes": args.processes}
    workers = {
        name: _Worker(
            str(args.replay_python) if name == "official" else sys.executable,
            name,
            [f"--{key}={value}" for key, value in settings.items()],
        )
        for name in _CLIENTS
    }
    speeds = {job: {name: [] for name in _CLIENTS if job in _CLIENTS[name]} for job in _JOBS}
    try:
        for job in _JOBS:  # fills the table, and warms up
            for name in speeds[job]:
                workers[name].ask(job, 1.0)
        for repeat in range(args.repeats):
            for job in _JOBS:
                for name in list(speeds[job])[:: 1 if repeat % 2 == 0 else -1]:
                    speeds[job][name].append(workers[name].ask(job, args.seconds))
    finally:
        for worker in workers.values():
            worker.end()
        server.kill()
        server.wait()
    return {
        "seconds": args.seconds,
        "prefetch_batches": args.prefetch,
        "processes": args.processes,
        "items_per_second": speeds,
    }


def _start_server(python: Path, directory: Path) -> tuple[subprocess.Popen, str]:
    ready = directory / "port"
    flags = {
        "tables": json.dumps([_TABLE]),
        "checkpoint_dir": directory / "checkpoints",
        "ready_file": ready,
    }
    command = [str(python), "-m", "replay.reverb.server"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    process = subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + _START_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            sys.exit(f"error: the replay server did not start: {' '.join(command)}")
        time.sleep(0.1)
    return process, f"127.0.0.1:{ready.read_text().strip()}"


class _Worker:
    """A client in a process of its own, which does jobs when it is asked to."""

    def __init__(self, python: str, name: str, flags: Sequence[str]):
        command = [python, "-m", "benchmarks.replay_wire", f"--worker={name}"]
        self._name = name
        self._process = subprocess.Popen(
            [*command, *flags],
            cwd=_ROOT,
            # As our learner does, for both.
            env={**os.environ, **machine.KEEP_FREED_MEMORY},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._stdin = cast(TextIO, self._process.stdin)
        self._stdout = cast(TextIO, self._process.stdout)

    def ask(self, job: str, seconds: float) -> float:
        """Has it do a job for about `seconds`; returns its items per second."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(json.dumps([job, seconds]) + "\n")
            self._stdin.flush()
        answer = self._stdout.readline()
        if not answer:
            sys.exit(f"error: worker {self._name!r} ended in {job!r}")
        return json.loads(answer)

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def _work(jobs: Mapping[str, Job]) -> None:
    """Does the jobs read from stdin and prints their speed."""
    for line in sys.stdin:
        job, seconds = json.loads(line)
        print(json.dumps(jobs[job](seconds)), flush=True)


def _show(report: Mapping[str, Any]) -> None:
    print("| items/s (batches/s) | ours | official | ratio (least to greatest) |")
    print("|---|---|---|---|")
    for job, speeds in report["items_per_second"].items():
        official = speeds["official"]
        for name in [name for name in speeds if name != "official"]:
            ratios = [a / b for a, b in zip(speeds[name], official)]
            print(
                f"| {_label(job, name, report['processes'])} | {_speed(job, speeds[name])} | "
                f"{_speed(job, official)} | {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f}) |"
            )


def _label(job: str, client: str, num_processes: int) -> str:
    if job not in _READING:
        return job
    return f"{job}, {'a thread' if client == 'thread' else f'{num_processes} processes'}"


def _speed(job: str, items_per_second: Sequence[float]) -> str:
    median = statistics.median(items_per_second)
    return f"{median:,.0f}" + ("" if job == "write" else f" ({median / _BATCH:.0f})")


def _frames() -> np.ndarray:
    """Frames uint8 [256, 84, 84] of moving blocks: they compress about as a game's do."""
    random = np.random.default_rng(0)
    background = np.kron(random.integers(0, 256, (6, 6), np.uint8), np.ones((14, 14), np.uint8))
    frames = np.repeat(background[np.newaxis], 256, axis=0)
    for _ in range(8):
        place, speed = random.integers(0, 70, 2), random.integers(-3, 4, 2)
        for t, frame in enumerate(frames):
            row, column = (place + t * speed) % 78
            frame[row : row + 6, column : column + 6] = random.integers(0, 256)
    return frames


def _steps() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Frames [N, 84, 84], actions and rewards [N] of one endless episode in every environment."""
    frames, env_ids = _frames(), np.arange(_NUM_ENVS)
    for t in itertools.count():
        # The emulator's own memory: a client must copy what it keeps.
        observation = frames[(t + 17 * env_ids) % len(frames)]
        actions = ((t + env_ids) % 18).astype(np.int32)
        yield observation, actions, (t % (env_ids + 2) == 0).astype(np.float32)


def _until(seconds: float) -> Iterator[int]:
    """Counts up until the time is over."""
    deadline, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < deadline:
        count += 1
        yield count


def _jobs(client: str, address: str, prefetch: int, num_processes: int) -> dict[str, Job]:
    if client == "official":
        return _official_jobs(address, prefetch)
    return _our_jobs(address, prefetch, num_processes if client == "processes" else 0)


def _our_jobs(address: str, prefetch: int, num_processes: int) -> dict[str, Job]:
    from replay.reverb import wire

    client = wire.Client(address)
    how = client, prefetch, num_processes
    return {
        "write": lambda seconds: _write_ours(client, seconds),
        "read": lambda seconds: _read_ours(*how, seconds, prioritize=False),
        "read_and_prioritize": lambda seconds: _read_ours(*how, seconds, prioritize=True),
    }


def _write_ours(client: Any, seconds: float) -> float:
    """As an actor does it, without its journal."""
    from replay import base
    from replay.reverb import wire
    from replay.reverb.writing import trajectories

    begin = time.perf_counter()
    steps, count = _steps(), 0
    no, ones = np.zeros(_NUM_ENVS, bool), np.ones(_NUM_ENVS, np.float32)
    with wire.Writer(client, max_pending=_PENDING) as writer:
        builder = trajectories.TrajectoryBuilder(
            writer, _TABLE["name"], _NUM_ENVS, _STACK, _N_STEP, _DISCOUNT, _CHUNK
        )
        for number in _until(seconds):
            observation, actions, rewards = next(steps)
            is_first = ~no if number == 1 else no
            arrays: Any = (observation, is_first, no, rewards, ones, actions)
            items = builder.add(base.Step(*arrays), 1.0)
            if items and number > 2 * _CHUNK:  # the first ones have fewer frames
                count += len(writer.insert(items))
        writer.flush()
    return count / (time.perf_counter() - begin)


def _read_ours(
    client: Any, prefetch: int, num_processes: int, seconds: float, prioritize: bool
) -> float:
    """As a learner does it."""
    from dm_env import specs

    from replay.reverb.sampling import batch_reader, priorities

    spec = specs.Array((84, 84), np.uint8)
    weights = priorities.SamplingWeights(0.5, 0.001)
    count = 0
    with (
        batch_reader.BatchReader(
            client, _TABLE["name"], spec, _STACK, _BATCH, prefetch, num_processes
        ) as reader,
        priorities.PrioritySender(client, _TABLE["name"], weights) as sender,
    ):
        reader.take()
        begin = time.perf_counter()
        for _ in _until(seconds):
            batch = reader.take()
            if prioritize:
                sender.put(batch, np.full(_BATCH, 1.0 + count % 7, np.float32))
            count += _BATCH
        sender.drain()
        return count / (time.perf_counter() - begin)


def _official_jobs(address: str, prefetch: int) -> dict[str, Job]:
    reverb = importlib.import_module("reverb")
    client = reverb.Client(address)
    how = client, address, prefetch
    return {
        "write": lambda seconds: _write_official(client, seconds),
        "read": lambda seconds: _read_official(*how, seconds, prioritize=False),
        "read_and_prioritize": lambda seconds: _read_official(*how, seconds, prioritize=True),
    }


def _write_official(client: Any, seconds: float) -> float:
    """A writer for each environment, as intended, and the sums that our builder does."""
    begin = time.perf_counter()
    steps, count = _steps(), 0
    with contextlib.ExitStack() as stack:
        writers = [_official_writer(client, stack) for _ in range(_NUM_ENVS)]
        recent: list[Any] = [collections.deque(maxlen=_N_STEP + 1) for _ in writers]
        for number in _until(seconds):
            for writer, last, frame, action, reward in zip(writers, recent, *next(steps)):
                last.append((int(action), float(reward)))
                writer.append([frame, _record(last)])
                if number > _WINDOW:
                    frames, records = writer.history
                    writer.create_item(_TABLE["name"], 1.0, [frames[-_WINDOW:], records[-1]])
                    writer.flush(block_until_num_items=_PENDING // _NUM_ENVS)
                    count += 1
        for writer in writers:
            writer.flush()
    return count / (time.perf_counter() - begin)


def _official_writer(client: Any, stack: contextlib.ExitStack) -> Any:
    writer = stack.enter_context(client.trajectory_writer(num_keep_alive_refs=_WINDOW))
    for column in (0, 1):
        writer.configure((column,), num_keep_alive_refs=_WINDOW, max_chunk_length=_CHUNK)
    return writer


def _record(last: Sequence[tuple[int, float]]) -> np.ndarray:
    """Action, return, discount and number of steps of the transition that ends now."""
    total, discount = 0.0, 1.0
    for _, reward in itertools.islice(last, 1, None):
        total += discount * reward
        discount *= _DISCOUNT
    return np.array([last[0][0], total, discount, len(last) - 1], np.float32)


def _read_official(
    client: Any, address: str, prefetch: int, seconds: float, prioritize: bool
) -> float:
    reverb = importlib.import_module("reverb")
    tensorflow = importlib.import_module("tensorflow")
    samples = reverb.TrajectoryDataset(
        address,
        _TABLE["name"],
        dtypes=[tensorflow.uint8, tensorflow.float32],
        shapes=[tensorflow.TensorShape([_WINDOW, 84, 84]), tensorflow.TensorShape([4])],
        max_in_flight_samples_per_worker=prefetch * _BATCH,
        num_workers_per_iterator=1,
    )
    batches = samples.batch(_BATCH, drop_remainder=True).as_numpy_iterator()
    next(batches)
    begin, count = time.perf_counter(), 0
    for _ in _until(seconds):
        batch = next(batches)
        frames, records = batch.data
        stacks = frames[:, :_STACK], frames[:, _N_STEP:]
        s_tm1, s_t = map(np.ascontiguousarray, stacks)
        assert len(s_tm1) == len(s_t) == len(records)
        if prioritize:
            updates = dict.fromkeys(batch.info.key.tolist(), 1.0 + count % 7)
            client.mutate_priorities(_TABLE["name"], updates)
        count += _BATCH
    return count / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
