"""The settings that a distributed run has besides those of any run: section `distributed`."""

import dataclasses

import ml_collections

from core import checks, settings
from training import run_settings
from training.logs.sinks import weights_and_biases

_SERVED = ("prioritized", "uniform")
"""Kinds of replay that the replay server draws like."""


@dataclasses.dataclass(frozen=True)
class DistributedSettings:
    """The section `distributed`, for scripts.launch alone."""

    chunk_length: int = settings.key(
        4, checks.integer(1), "frames of an environment that are compressed and sent together"
    )
    max_unconfirmed: int = settings.key(
        128,
        checks.integer(1),
        "transitions an actor may have sent that the server has not confirmed",
    )
    prefetch_batches: int = settings.key(
        4,
        checks.integer(1),
        "batches drawn ahead of the update that uses them: their priorities are as old; processes "
        "that decode are busy with two each",
    )
    decoder_processes: int = settings.key(
        -1,
        checks.integer(-1),
        "processes that draw and decode batches for the learner; 0: a thread of its own does, "
        "which is enough for some 250 a second; -1: 0 where it learns on a CPU, else 2",
    )
    credit_frames: int = settings.key(
        2_000,
        checks.integer(1),
        "frames that all actors together may have played beyond those whose updates are done",
    )
    journal_segment_mb: float = settings.key(
        64.0,
        checks.number(0, open_low=True),
        "megabytes of a file of an actor's journal; those whose transitions a checkpoint of the "
        "replay has are dropped as a whole",
    )
    publish_period_updates: int = settings.key(
        100, checks.integer(1), "updates between publications of the parameters to the actors"
    )
    learner_devices: int = settings.key(
        0,
        checks.integer(0),
        "devices of its machine over which the learner spreads each batch; 0: all",
    )
    actor_platform: str = settings.key(
        "cpu", checks.one_of("auto", "cpu", "gpu"), "where actors and evaluator compute"
    )


def parse(
    config: ml_collections.ConfigDict, num_actors: int
) -> tuple[run_settings.RunSettings, DistributedSettings]:
    """The settings of a resolved configuration for several processes.

    Raises:
      ConfigError: for a bad key or value, and for what several processes can't do.
    """
    run = run_settings.parse(config)
    distributed = settings.parse(DistributedSettings, config["distributed"], "distributed")
    weights_and_biases.check(run.log.wandb)
    if num_actors < 1:
        raise checks.ConfigError(f"actors = {num_actors}: expected an integer >= 1")
    if run.num_seeds != 1:
        raise checks.ConfigError(
            f"num_seeds = {run.num_seeds}: expected 1 in a distributed run; start one for each seed"
        )
    if run.training.steps_per_call != 1:
        raise checks.ConfigError(
            f"training.steps_per_call = {run.training.steps_per_call}: expected 1 in a distributed "
            "run"
        )
    if run.replay.module not in _SERVED:
        raise checks.ConfigError(
            f"replay.module = {run.replay.module!r}: expected one of {', '.join(_SERVED)} in a "
            "distributed run"
        )
    if run.training.dataset:
        raise checks.ConfigError(
            f"training.dataset = {run.training.dataset!r}: expected none in a distributed run"
        )
    for key in ("units_period_frames", "ranks_period_frames", "network_period_frames"):
        if getattr(run.log, key):
            raise checks.ConfigError(
                f"log.{key} = {getattr(run.log, key)}: expected 0 in a distributed run, whose "
                "learner has no replay of its own to draw from"
            )
    for key in ("keep_at", "parameters_period_frames"):
        if getattr(run.snapshot, key):
            raise checks.ConfigError(
                f"snapshot.{key} = {getattr(run.snapshot, key)}: expected none in a distributed run"
            )
    capacity = run.replay.capacity
    if distributed.max_unconfirmed > capacity:
        raise checks.ConfigError(
            f"distributed.max_unconfirmed = {distributed.max_unconfirmed}: expected at most "
            f"replay.capacity = {capacity}"
        )
    processes, batches = distributed.decoder_processes, distributed.prefetch_batches
    if processes > batches:
        raise checks.ConfigError(
            f"distributed.decoder_processes = {processes}: expected at most the {batches} of "
            "distributed.prefetch_batches, or some would have nothing to do"
        )
    return run, distributed
