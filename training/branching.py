"""Branches: a run continued from one of its snapshots under another configuration.

Until that moment a branch is its trunk bit for bit: what differs later is the change's doing, and
not another seed's.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from core import checks, durable_files, settings
from training import agent_loop, closed_loop, derived, run_directory, run_settings
from training import experiment as experiment_lib
from training.checkpoints import snapshot, state_arrays
from training.learning import plain_state
from training.logs import interval

RECORD = "branch.json"
"""In a branch's directory: where and when it left its trunk, and what was changed."""

# What one that was killed while it was made may have left.
_OF_A_BRANCH = {
    *run_directory.OF_A_BEGINNING,
    *("config.json", "snapshots", "snapshots.txt", "snapshots.txt.tmp"),
    *(RECORD, f"{RECORD}.tmp"),
}

# What the saved environments, replay and counters rest on.
_FIXED = (
    *("seed", "num_seeds", "num_envs", "environment", "transition", "replay.capacity"),
    *("training.update_period_frames", "training.offline_updates"),
)


def make(run_dir: Path, frames: int, config: ml_collections.ConfigDict, to: Path) -> None:
    """Makes a directory that `training.loop.train` continues, with one snapshot.

    Args:
      run_dir: the trunk's directory.
      frames: of one of its snapshots.
      config: of the branch, as given.
      to: a new directory; its CSV files begin at this moment.

    Raises:
      ConfigError: if there is no such snapshot, the directory is not new, or a key was changed that
        may not be.
      SnapshotError: if the snapshot can't be read or does not fit the configuration.
    """
    trunk = run_directory.read_given(run_dir)
    changed = changes(trunk, config)
    source = _find(run_dir, frames)
    with _making(to) as partial:
        counters = snapshot.verify(source)
        contents = _contents(source, counters, trunk, config)
        run_directory.claim(partial, config)
        record = {"run_dir": str(run_dir.resolve()), "frames": frames, "changes": changed}
        store = snapshot.of_run(partial, keep=1)
        store.save(lambda _: contents)
        store.wait()
        text = json.dumps(record, indent=1) + "\n"
        durable_files.replace_text(partial / RECORD, text)


@contextlib.contextmanager
def _making(to: Path) -> Iterator[Path]:
    """Gives a directory of this process alone; a branch is whole, or not there.

    Raises:
      ConfigError: if the branch is there, another process makes it, or other files are in the way.
    """
    partial = to.with_name(f"{to.name}.tmp")
    left = {entry.name for entry in partial.iterdir()} if partial.is_dir() else set()
    if left - _OF_A_BRANCH:
        raise checks.ConfigError(f"to = {str(to)!r}: expected no other files in {partial}")
    with run_directory.locked(partial):
        try:
            if to.exists():
                raise checks.ConfigError(
                    f"to = {str(to)!r}: expected a directory that is not there yet"
                )
            for name in left - run_directory.OF_A_BEGINNING:
                _remove(partial / name)
            yield partial
            partial.rename(to)
        except BaseException:
            shutil.rmtree(partial)
            raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def check_record(to: Path, run_dir: Path, frames: int) -> None:
    """Checks that a branch left that run at that frame.

    Raises:
      ConfigError: if it did not.
    """
    record = json.loads((to / RECORD).read_text())
    found = (record["run_dir"], record["frames"])
    if found != (str(run_dir.resolve()), frames):
        raise checks.ConfigError(
            f"to = {str(to)!r}: expected a branch of {run_dir} at {frames}, found one of "
            f"{found[0]} at {found[1]}"
        )


def _find(run_dir: Path, frames: int) -> Path:
    saved = {int(path.name): path for path in snapshot.list_saved(run_dir / "snapshots")}
    if frames not in saved:
        listed = ", ".join(map(str, sorted(saved))) or "none"
        raise checks.ConfigError(f"at = {frames}: expected a snapshot of {run_dir}: {listed}")
    return saved[frames]


def changes(trunk: ml_collections.ConfigDict, config: ml_collections.ConfigDict) -> dict[str, Any]:
    """What a branch's configuration has otherwise than its trunk's, by key.

    Raises:
      ConfigError: for a change of what the snapshot rests on.
    """
    before, after = (settings.flatten(x.to_dict()) for x in (trunk, config))
    changed = {
        key: after.get(key)
        for key in sorted(set(before) | set(after))
        if json.dumps(before.get(key)) != json.dumps(after.get(key))
    }
    fixed = (*_FIXED, *_radii(before, after))
    for key in changed:
        if any(key == one or key.startswith(f"{one}.") for one in fixed):
            raise checks.ConfigError(
                f"{key} = {changed[key]!r}: expected the trunk's {before.get(key)!r}, on which "
                "the snapshot rests"
            )
    return changed


def _radii(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The keys of radii of spheres that both have: the snapshot has theirs."""
    enabled = ".projection.enabled"
    sections = [key.removesuffix(enabled) for key in after if key.endswith(enabled)]
    return [
        f"{section}.projection.radius"
        for section in sections
        if before.get(f"{section}{enabled}") and after[f"{section}{enabled}"]
    ]


def _contents(
    source: Path,
    counters: dict[str, int],
    trunk: ml_collections.ConfigDict,
    config: ml_collections.ConfigDict,
) -> snapshot.Contents:
    """The trunk's snapshot as one of the branch."""
    old, new = (_make(x) for x in (trunk, config))
    try:
        old.restore(source, counters)
        learner = new.experiment.learner
        expected = experiment_lib.state_shapes(new.experiment)
        before = plain_state.plain(old.experiment.learner, old.state)
        adopted = jax.eval_shape(learner.adopt, before)
        state_arrays.check_same_shapes(source, expected, adopted)
        new.state = learner.adopt(before)
        new.counts.counters = dict(counters)
        arrays = state_arrays.to_host(learner.replay, plain_state.plain(learner, new.state))
        return snapshot.Contents(
            counters=dict(counters),
            arrays={
                "learner": arrays,
                "environment": snapshot.read_arrays(source, "environment"),
                "loop": _gathered(source, new.metric_names),
            },
            rows=state_arrays.copy_rows(learner.replay, new.state, None),
        )
    finally:
        for loop in (old, new):
            loop.experiment.environment.close()


def _make(config: ml_collections.ConfigDict) -> agent_loop.AgentLoop:
    settings = run_settings.parse(derived.resolve(config))
    return closed_loop.make(settings, experiment_lib.make(settings))


def _gathered(source: Path, metric_names: list[str]) -> dict[str, np.ndarray]:
    """The recorder's state; without the interval's metrics if the branch has others."""
    saved = snapshot.read_arrays(source, "loop")
    names = {name for name in saved if name.startswith(interval.METRIC)}
    wanted = [f"{interval.METRIC}{name}" for name in metric_names]
    if names == set(wanted):
        return saved
    kept = {name: array for name, array in saved.items() if name not in {*names, "update_counts"}}
    return {**kept, **{name: np.zeros((0, 1)) for name in wanted}}
