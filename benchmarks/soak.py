"""Does to a distributed run everything that can happen to it, and audits what is left.

python -m benchmarks.soak --config=configs/data_efficient_nap.py:pong --minutes=20 --actors=2 \
    --output=soak.json

At random moments processes are killed, alone and all at once, the replay server is frozen, the
network to it is cut, and the disk of checkpoints and snapshots is filled (as root, where file
systems can be mounted). Then the run is stopped and audited: each update that was due was done,
each episode is recorded once, and each transition that an actor has put into its journal is in
the replay, once. The exit code is 1 if not.
"""

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from benchmarks import launched_run, machine, replay_audit, tcp_proxy
from core import checks
from envs import base as envs_base
from replay.reverb import connection
from scripts import command_line
from training import derived, run_directory, run_settings
from training.checkpoints import snapshot
from training.learning import update_schedule
from training.system import exit_codes

_CONFIG = config_flags.DEFINE_config_file("config", None, "As of scripts.launch.")
_MINUTES = flags.DEFINE_float("minutes", 20.0, "How long, roughly.", lower_bound=1.0)
_OUTAGE_S = flags.DEFINE_float(
    "outage_seconds", 60.0, "How long the server is frozen, or the network cut.", lower_bound=1.0
)
_ACTORS = flags.DEFINE_integer("actors", 2, "Of the run.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of what is done when.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")
_KEEP = flags.DEFINE_string(
    "keep", None, "Where the run's directory is to be; default: a temporary one, kept on failure."
)

_NEVER = 10**9
_SNAPSHOT_FRAMES = 3_000
_DISK_MB = 512
_START_S, _GO_ON_S, _STOP_S, _CATCH_UP_S = 300.0, 300.0, 300.0, 180.0
_MAX_PAUSE_S = 12.0
_STILL_S = 5.0


class Deed(NamedTuple):
    """Something that was done to the run.

    Attributes:
      what: its name.
      at_s: seconds after the run's start.
      frames: of the run then.
      went_on_s: seconds from its end until the run's frames grew again.
      back_s: seconds from its end until the process wrote its status again; None if none died.
    """

    what: str
    at_s: float
    frames: int
    went_on_s: float
    back_s: float | None


class _Disk:
    """A small separate disk for a run's checkpoints and snapshots, which can be filled."""

    def __init__(self, run_dir: Path, root: Path):
        self._root = root
        self._places = [run_dir / "replay" / "checkpoints", run_dir / "snapshots"]
        self._mounted: list[Path] = []

    def __enter__(self) -> "_Disk":
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            self._root.mkdir(parents=True)
            self._mount("-t", "tmpfs", "-o", f"size={_DISK_MB}m", "soak", self._root)
            for place in self._places:
                source = self._root / place.name
                source.mkdir()
                place.mkdir(parents=True)
                self._mount("--bind", source, place)
        return self

    def __exit__(self, *_: object) -> None:
        # Its contents go with it.
        contents = {place: self._root.with_name(f"{place.name}.copy") for place in self._places}
        if self.can_be_filled:
            for place, copy in contents.items():
                shutil.copytree(place, copy)
        for place in reversed(self._mounted):
            subprocess.run(["umount", "--lazy", str(place)], check=False)
        if self.can_be_filled:
            for place, copy in contents.items():
                place.rmdir()
                copy.rename(place)

    @property
    def can_be_filled(self) -> bool:
        """Whether there is such a disk."""
        return len(self._mounted) == 1 + len(self._places)

    def fill(self) -> None:
        """Fills the disk."""
        with (self._root / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))

    def free(self) -> None:
        """Frees that space."""
        (self._root / "fill").unlink()

    def _mount(self, *arguments: Any) -> None:
        if os.geteuid() != 0:
            raise PermissionError
        command = ["mount", *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True)
        self._mounted.append(Path(arguments[-1]))


class _Soak:
    """What is done to one run."""

    def __init__(self, launch: launched_run.Launch, disk: _Disk, step_frames: int):
        """Does nothing yet.

        Args:
          launch: of the run, under way.
          disk: of its checkpoints and snapshots.
          step_frames: this many more frames mean that the run goes on.
        """
        self._launch, self._disk = launch, disk
        self._step_frames = step_frames
        self._random = random.Random(_SEED.value)
        self._begin = time.monotonic()
        self._frames = 0
        self._actors = [f"actor_{i}" for i in range(_ACTORS.value)]
        self.deeds: list[Deed] = []

    @property
    def seconds(self) -> float:
        """Since the run's start."""
        return time.monotonic() - self._begin

    def work(self) -> None:
        """Waits until the run learns, and does one thing after another until the time is up."""
        self._wait_until_learning()
        while True:
            deck = list(self._choices())
            self._random.shuffle(deck)
            for what in deck:
                time.sleep(self._random.uniform(0, _MAX_PAUSE_S))
                if self.seconds > 60 * _MINUTES.value:
                    return
                self._do(what)

    def _choices(self) -> Mapping[str, tuple[Callable[[], None], str]]:
        """By name: how it is done, and whose status then shows that the process is back."""
        actor = self._random.choice(self._actors)
        kill = self._launch.kill
        choices: dict[str, tuple[Callable[[], None], str]] = {
            "actor killed": (lambda: _ensure(kill(actor)), actor),
            "learner killed": (lambda: _ensure(kill("learner")), "learner"),
            "replay server killed": (lambda: _ensure(kill("server")), "replay"),
            "replay role killed": (lambda: _ensure(kill("replay")), "replay"),
            "decoder killed": (self._kill_decoder, ""),
            "evaluator killed": (lambda: _ensure(kill("evaluator")), "evaluator"),
            "server and learner killed": (self._kill_two, "learner"),
            "all killed, started again": (self._restart, "learner"),
            f"server frozen for {_OUTAGE_S.value:.0f} s": (self._freeze, ""),
            f"network cut for {_OUTAGE_S.value:.0f} s": (
                lambda: self._cut(tcp_proxy.TcpProxy.drop),
                "",
            ),
            f"network silent for {_OUTAGE_S.value:.0f} s": (
                lambda: self._cut(tcp_proxy.TcpProxy.freeze),
                "",
            ),
        }
        if self._disk.can_be_filled:
            choices["disk full when it was time to save"] = (self._fill_disk, "")
        return choices

    def _do(self, what: str) -> None:
        """Does one thing, and waits until the run goes on."""
        act, label = self._choices()[what]
        self._note_frames()
        begin, frames = self.seconds, self._frames
        act()
        end, told = time.monotonic(), time.time()
        after = max(frames, self._launch.frames()) + self._step_frames
        self._launch.wait_for(after, _GO_ON_S)
        went_on = time.monotonic() - end
        back = self._wait_for_status(label, told) - end if label else None
        self.deeds.append(Deed(what, begin, frames, went_on, back))
        _say(
            f"{begin:6.0f} of {60 * _MINUTES.value:.0f} s  frame {frames}: {what}; "
            f"went on after {went_on:.1f} s"
        )

    def _wait_for_status(self, label: str, since: float) -> float:
        launch = self._launch
        launched_run.wait_until(
            lambda: launch.status(label).get("time", 0) > since, _GO_ON_S, launch.tail
        )
        return time.monotonic()

    def _note_frames(self) -> None:
        self._frames = max(self._frames, self._launch.frames())

    def _wait_until_learning(self) -> None:
        launch = self._launch
        launched_run.wait_until(
            lambda: launch.status("learner").get("updates"), _START_S, launch.tail
        )
        _say(f"{self.seconds:6.0f} s  the run learns")

    def _kill_two(self) -> None:
        _ensure(self._launch.kill("server"))
        time.sleep(self._random.uniform(0, 5))
        _ensure(self._launch.kill("learner"))

    def _kill_decoder(self) -> None:
        decoders = self._launch.decoders()
        _ensure(bool(decoders))
        for decoder in decoders[:1]:
            os.kill(decoder, signal.SIGKILL)

    def _restart(self) -> None:
        self._launch.kill_all()
        self._launch.start()

    def _freeze(self) -> None:
        _ensure(self._launch.send("server", signal.SIGSTOP))
        time.sleep(_OUTAGE_S.value)
        _ensure(self._launch.send("server", signal.SIGCONT))

    def _cut(self, how: Callable[[tcp_proxy.TcpProxy], None]) -> None:
        """Cuts off the learner and all actors, restarted to go through a proxy."""
        file = self._launch.run_dir / "replay" / "address"
        published = connection.read_address(file)
        assert published is not None  # the run went on after what was done before
        address = published.address
        with tcp_proxy.TcpProxy(address) as proxy:
            connection.publish_address(file, proxy.address)
            for label in ("learner", *self._actors):
                _ensure(self._launch.kill(label))
            self._launch.wait_for(self._frames + self._step_frames, _GO_ON_S)
            how(proxy)
            time.sleep(_OUTAGE_S.value)
            proxy.restore()
            self._note_frames()
            self._launch.wait_for(self._frames + self._step_frames, _GO_ON_S)
            # So they return to the server itself when the proxy's end drops them.
            connection.publish_address(file, address)

    def _fill_disk(self) -> None:
        self._disk.fill()
        self._launch.wait_for(self._frames + _SNAPSHOT_FRAMES, _GO_ON_S)
        self._disk.free()

    def stop(self) -> None:
        """Stops the run when all due updates are done: the actors are held for that."""
        launch = self._launch
        for actor in self._actors:
            _ensure(launch.send(actor, signal.SIGSTOP))
        self._wait_until_still()
        launch.process.send(signal.SIGTERM)
        launched_run.wait_until(lambda: "learner" not in launch.roles(), _STOP_S, launch.tail)
        for actor in self._actors:
            launch.send(actor, signal.SIGCONT)
        exit_code = launch.wait(_STOP_S)
        if exit_code != exit_codes.STOPPED:
            raise RuntimeError(f"scripts.launch has ended with {exit_code}\n{launch.tail()}")

    def _wait_until_still(self) -> None:
        """Waits until the learner has had nothing to do for a while."""
        last, since = -1, time.monotonic()
        end = since + _CATCH_UP_S
        while time.monotonic() < min(since + _STILL_S, end):
            updates = int(self._launch.status("learner").get("updates", -1))
            if updates != last:
                last, since = updates, time.monotonic()
            time.sleep(0.5)


def main(argv: Sequence[str]) -> int:
    """Soaks a run, and prints the outcome; exits with 1 if that is not what it should be."""
    del argv
    command_line.load_config(_CONFIG)
    if _OUTPUT.value and Path(_OUTPUT.value).exists():
        raise checks.ConfigError(f"output = {_OUTPUT.value!r}: exists already, not overwritten")
    with _directory() as directory:
        # Restarted processes should not spend the time on compilation.
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(directory.absolute() / "jax"))
        report = _report(directory)
        text = json.dumps(report, indent=1) + "\n"
        if _OUTPUT.value:
            Path(_OUTPUT.value).write_text(text, encoding="utf-8")
        _show(report)
        if report["failures"]:
            raise SystemExit(1)
    return 0


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """The run's directory; a temporary one is removed if nothing failed."""
    if _KEEP.value:
        yield Path(_KEEP.value)
        return
    directory = Path(tempfile.mkdtemp(prefix="soak_"))
    try:
        yield directory
    except BaseException:
        _say(f"see {directory}")
        raise
    shutil.rmtree(directory)


def _report(directory: Path) -> dict[str, Any]:
    file, given = launched_run.config_arguments(sys.argv[1:])
    config: Any = _CONFIG.value
    changes = {key: value for key, value in _changes(config).items() if key not in given}
    launch = launched_run.Launch(directory / "run", file, _ACTORS.value, **changes, **given)
    # The directories for the disk would keep a new run from starting.
    config.update_from_flattened_dict(changes)
    run_directory.claim(launch.run_dir, config)
    with _Disk(launch.run_dir, directory / "disk") as disk, launch:
        if not disk.can_be_filled:
            _say("no disk is filled: that takes root, and mounting")
        step = config.num_envs * envs_base.frames_per_step(envs_base.parse(config.environment))
        soak = _Soak(launch, disk, 5 * step * _ACTORS.value)
        soak.work()
        soak.stop()
        seconds = soak.seconds
        audit = replay_audit.audit(launch)
        accounts = _accounts(launch, config)
    report: dict[str, Any] = {
        "machine": machine.describe(),
        "config": file,
        "actors": _ACTORS.value,
        "seconds": seconds,
        "deeds": [deed._asdict() for deed in soak.deeds],
        "disk_could_be_filled": disk.can_be_filled,
        "restarts": _restarts(launch),
        "accounts": accounts,
        "replay": audit._asdict(),
    }
    return report | {"failures": _failures(accounts, audit)}


def _changes(config: Any) -> dict[str, Any]:
    """What is different in a soak: no end, many snapshots, and episodes that end."""
    changes: dict[str, Any] = {
        "num_frames": _NEVER,
        "replay.capacity": max(500_000, config.replay.capacity),
        "log.tensorboard": False,
        "log.period_frames": 1_000,
        "log.layers_period_frames": 5_000,
        "snapshot.period_frames": _SNAPSHOT_FRAMES,
        "evaluation.period_frames": 6_000,
        "evaluation.episodes": 2,
        "evaluation.num_envs": 2,
        # So small that files of it are dropped.
        "distributed.journal_segment_mb": 2.0,
        "distributed.decoder_processes": 2,
    }
    if "max_episode_frames" in config.environment:
        changes["environment.max_episode_frames"] = 600
    return changes


def _ensure(done: bool) -> None:
    if not done:
        _say("        the process was not there: it was being started again")


def _restarts(launch: launched_run.Launch) -> dict[str, int]:
    """How often the supervisor has counted a death, by process."""
    labels = [row["role"] for row in launch.rows("restarts")]
    return {label: labels.count(label) for label in sorted(set(labels))}


def _accounts(launch: launched_run.Launch, config: Any) -> dict[str, Any]:
    """What the run itself has counted."""
    saved = snapshot.list_saved(launch.run_dir / "snapshots")[0]
    counters = snapshot.verify(saved)
    schedule = update_schedule.UpdateSchedule.make(run_settings.parse(derived.resolve(config)))
    due = schedule.due(counters["frames"], 0, counters["idle_frames"])
    episodes = [(row["journal"], row["episode"]) for row in launch.rows("episodes")]
    rows = [int(row["frames"]) for row in launch.rows("train")]
    return {
        "frames": counters["frames"],
        "idle_frames": counters["idle_frames"],
        "updates": counters["updates"],
        "updates_due": due,
        "updates_of_parameters": int(snapshot.read_arrays(saved, "learner")[".train.updates"][0]),
        "episodes": len(episodes),
        "episodes_twice": len(episodes) - len(set(episodes)),
        "train_rows": len(rows),
        "train_rows_out_of_order": sum(b <= a for a, b in itertools.pairwise(rows)),
        "evaluations": len(launch.rows("evaluation")),
    }


def _failures(accounts: Mapping[str, Any], audit: replay_audit.Audit) -> list[str]:
    """What is not as it should be."""
    wrong = {
        "updates missing or too many": accounts["updates"] - accounts["updates_due"],
        "updates done, but not counted": accounts["updates_of_parameters"] - accounts["updates"],
        "episodes written down twice": accounts["episodes_twice"],
        "rows of train.csv out of order": accounts["train_rows_out_of_order"],
        "transitions lost": audit.lost,
        "transitions doubled": audit.doubled,
        "transitions stored, besides those expected": audit.stored - audit.expected,
        "frames counted that are in no journal": max(0, accounts["frames"] - audit.frames),
    }
    return [f"{what}: {number}" for what, number in wrong.items() if number]


def _show(report: Mapping[str, Any]) -> None:
    """Prints the tables."""
    print("| what was done | times | went on after s, median (greatest) | back after s |")
    print("|---|---|---|---|")
    deeds = report["deeds"]
    for what in sorted({deed["what"] for deed in deeds}):
        mine = [deed for deed in deeds if deed["what"] == what]
        went_on = _seconds([deed["went_on_s"] for deed in mine])
        back = _seconds([deed["back_s"] for deed in mine if deed["back_s"] is not None])
        print(f"| {what} | {len(mine)} | {went_on} | {back} |")
    if not report["disk_could_be_filled"]:
        print("| disk full | left out: that takes root, and mounting | | |")
    print("\n| account | |\n|---|---|")
    restarts = ", ".join(f"{label} {count}" for label, count in report["restarts"].items())
    print(f"| seconds | {report['seconds']:.0f} |\n| restarts by the supervisor | {restarts} |")
    for name, number in report["accounts"].items():
        print(f"| {name.replace('_', ' ')} | {number} |")
    for name, number in report["replay"].items():
        print(f"| replay: {name} | {number} |")
    print("\n" + ("; ".join(report["failures"]) or "nothing lost, nothing doubled"))


def _seconds(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({max(values):.1f})" if values else ""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    command_line.run(main)
