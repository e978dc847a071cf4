"""Runs grouped into the agents that are compared, and their scores.

An arm is a configuration by its name: all its runs must learn alike (see `check_alike`). Arms are
compared at one length, and under one protocol; runs of several protocols are refused unless asked
for, and then labelled.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis import likeness, reference_scores, run_records, statistics
from core import checks
from envs import atari

FREE = (
    *likeness.OF_A_SEED,
    *likeness.WITHOUT_EFFECT,
    *(f"environment.{key}" for key in ("game", "id", "probe", "reseed_steps")),
)
"""What may differ between the runs of an arm."""


class Arm(NamedTuple):
    """Runs of one configuration.

    Attributes:
      label: the configuration's name, with the protocol where several are compared.
      runs: of several games and seeds.
    """

    label: str
    runs: Sequence[run_records.RunRecord]


def make_arms(runs: Sequence[run_records.RunRecord], mixed_protocols: bool = False) -> list[Arm]:
    """Groups runs by configuration, in order of their first run.

    Args:
      runs: all of one kind: of single games, or of sequences.
      mixed_protocols: whether runs of several protocols may stand side by side.

    Raises:
      ConfigError: if protocols are mixed unasked, if runs of the same name have different
        settings, if a game and seed occurs twice in an arm, or if arms are of different lengths.
    """
    protocols = {protocol(run): run for run in runs}
    if len(protocols) > 1 and not mixed_protocols:
        (one, run), (other, other_run), *_ = protocols.items()
        raise checks.ConfigError(
            f"runs of different protocols: {run.path} has {one}; {other_run.path} has {other}; "
            "expected one protocol, or --mixed_protocols to compare them all the same"
        )
    groups: dict[str, list[run_records.RunRecord]] = {}
    for run in runs:
        label = f"{run.name} [{protocol(run)}]" if len(protocols) > 1 else run.name
        groups.setdefault(label, []).append(run)
    for group in groups.values():
        check_alike(group)
        _check_length(group[0], runs[0])
    return [Arm(label, group) for label, group in groups.items()]


def protocol(run: run_records.RunRecord) -> str:
    """The rules under which a run's episodes are played, in one line."""
    environment = run.config["environment"]
    if "protocol" not in environment:
        return f"environment {environment['module']}"
    rules = atari.PROTOCOLS[environment["protocol"]]
    sticky, noops = rules.sticky_probability, rules.max_noop_frames
    all_actions = has_all_actions(run.config)
    parts = [
        environment["protocol"],
        f"sticky actions {sticky:g}" if sticky else "no sticky actions",
        f"up to {noops} no-ops" if noops else "no no-ops",
        "life losses not told" if rules.life_loss_discount == 1 else "discount 0 on life loss",
        "all 18 actions" if all_actions else "minimal actions",
        f"episodes of at most {episode_cap(run.config)} frames",
    ]
    return ", ".join(parts)


def episode_cap(config: Mapping[str, Any]) -> int:
    """The frames after which an Atari run's evaluations cut an episode: the first of two caps."""
    caps = (config[key].get("max_episode_frames") for key in ("environment", "evaluation"))
    # Earlier versions had no cap of evaluations alone.
    return min(cap for cap in caps if cap is not None)


def has_all_actions(config: Mapping[str, Any]) -> bool:
    """Whether an Atari run's agent chooses among all 18 actions, not the game's minimal set."""
    environment = config["environment"]
    chosen = environment.get("full_action_space")
    if chosen is None:
        chosen = atari.PROTOCOLS[environment["protocol"]].full_action_space
    return "games" in environment or chosen


def check_alike(runs: Sequence[run_records.RunRecord]) -> None:
    """Raises ConfigError if settings differ, or if a game and seed occurs twice."""
    first, seen = runs[0], {}
    for run in runs:
        difference = likeness.first_difference(first.config, run.config, FREE)
        if difference:
            raise checks.ConfigError(
                f"{run.path}: {difference}: expected the settings of {first.path}, as both are "
                f"called {run.name!r}; give one of them another config.name"
            )
        for key in ((run.games, seed) for seed in run.seeds):
            if key in seen:
                raise checks.ConfigError(
                    f"{run.path}: seed {key[1]} of {', '.join(key[0])} comes a second time, "
                    f"first in {seen[key]}"
                )
            seen[key] = run.path


def _check_length(run: run_records.RunRecord, other: run_records.RunRecord) -> None:
    ours, theirs = (
        {"num_frames": x.config["num_frames"], "frames per task": x.frames_per_task}
        for x in (run, other)
    )
    for what, length in ours.items():
        if length != theirs[what]:
            raise checks.ConfigError(
                f"runs of different lengths: {other.path} has {what} = {theirs[what]}; {run.path} "
                f"has {length}: expected the same, or a report of each"
            )


def final_returns(arm: Arm) -> dict[str, np.ndarray]:
    """Mean return [seeds] of each game at the last evaluation of each run; unnormalized."""
    last: dict[tuple[str, int], run_records.Evaluation] = {}
    for run in arm.runs:
        last |= run.last_evaluations()
    returns: dict[str, list[float]] = {}
    for (game, _), row in sorted(last.items()):
        returns.setdefault(game, []).append(row.mean_return)
    return {game: np.array(values) for game, values in returns.items()}


def normalized(returns: statistics.Scores) -> statistics.Scores:
    """Human-normalized scores; games without reference scores are left out."""
    known = (game for game in returns if game in reference_scores.SCORES)
    return {game: reference_scores.human_normalized(game, returns[game]) for game in known}


def first_reached(runs: Sequence[run_records.RunRecord], threshold: float) -> dict[int, float]:
    """By seed, the frame of the first evaluation of at least `threshold`; inf if there is none."""
    reached = {seed: np.inf for run in runs for seed in run.seeds}
    for run in runs:
        for row in run.evaluations():
            if row.mean_return >= threshold:
                reached[row.seed] = min(reached[row.seed], row.frames)
    return reached


def notes(arms: Sequence[Arm]) -> list[str]:
    """What a reader must know first: runs that are missing, unfinished or not evaluated yet.

    Also of several commits, as what they compute may differ.
    """
    wanted = {(run.games, seed) for arm in arms for run in arm.runs for seed in run.seeds}
    found = note_commits([run for arm in arms for run in arm.runs])
    for arm in arms:
        there = {(run.games, seed) for run in arm.runs for seed in run.seeds}
        found += [
            f"missing: {arm.label}, {_describe(games)}, seed {seed}"
            for games, seed in sorted(wanted - there)
        ]
        found += [
            f"unfinished: {run.path}, {run.frames} of {run.config['num_frames']} frames"
            for run in arm.runs
            if not run.is_finished
        ]
        found += [
            f"no evaluation yet: {run.path}" for run in arm.runs if not list(run.evaluations())
        ]
        found += [note for run in arm.runs for note in _note_evaluations(run)]
    return found


def note_commits(runs: Sequence[run_records.RunRecord]) -> list[str]:
    """A line if the runs are of several commits."""
    commits = run_records.commits(runs)
    return [f"several commits: {run_records.list_commits(commits)}"] if len(commits) > 1 else []


def _note_evaluations(run: run_records.RunRecord) -> list[str]:
    """A line if a run was evaluated, but not as late as it was due, as when it was killed in it."""
    last = {row.seed: row.frames for row in run.evaluations()}
    period = run.config["evaluation"]["period_frames"]
    if not last or not period:
        return []
    # An evaluation is at the first step past a multiple of the period.
    due, done = run.frames // period, min(last.get(seed, 0) for seed in run.seeds) // period
    if done >= due:
        return []
    return [f"last evaluation missing: {run.path}, at frame {done * period} of {due * period} due"]


def _describe(games: Sequence[str]) -> str:
    return games[0] if len(games) == 1 else f"{len(games)} games"
