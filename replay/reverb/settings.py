"""The tables that a distributed run asks of its replay server, and what may be in flight."""

from collections.abc import Mapping
from typing import Any

from configs import checks
from envs import base as envs_base

TRANSITIONS, PARAMETERS, STATUS, REPORTS = "transitions", "parameters", "status", "reports"

CHECKS: Mapping[str, checks.Check] = {
    "chunk_length": checks.integer(1),
    "max_unconfirmed": checks.integer(1),
    "prefetch_batches": checks.integer(1),
    "decoder_processes": checks.integer(-1),
    "error_buffer": checks.integer(0),
    "journal_segment_mb": checks.number(0, open_low=True),
    "publish_period_updates": checks.integer(1),
    "learner_devices": checks.integer(0),
    "actor_platform": checks.one_of("auto", "cpu", "gpu"),
}

# The learner takes them within a second; each is about 200 bytes.
_MAX_REPORTS = 100_000


def verify(config: Any, num_actors: int) -> None:
    """Checks whether a config can be run by several processes.

    Raises:
      ConfigError: for a bad key or value, several seeds, or an error buffer with which actors and
        learner could wait for each other.
    """
    distributed = config["distributed"]
    checks.verify("distributed", distributed, CHECKS)
    if num_actors < 1:
        raise checks.ConfigError(f"actors = {num_actors}: expected an integer >= 1")
    if config["num_seeds"] != 1:
        raise checks.ConfigError(
            f"num_seeds = {config['num_seeds']}: expected 1 in a distributed run; start one for "
            "each seed"
        )
    processes, batches = distributed["decoder_processes"], distributed["prefetch_batches"]
    if processes > batches:
        raise checks.ConfigError(
            f"distributed.decoder_processes = {processes}: expected at most the {batches} of "
            "distributed.prefetch_batches, or some would have nothing to do"
        )
    asked, least = distributed["error_buffer"], least_error_buffer(config, num_actors)
    if asked and asked < least:
        raise checks.ConfigError(
            f"distributed.error_buffer = {asked}: expected at least {least} with {num_actors} "
            "actors (or 0 for that), else actors and learner could wait for each other"
        )


def samples_per_insert(config: Any) -> float:
    """Samples that the updates draw per transition: as many as in lock step."""
    frames_per_step = envs_base.frames_per_step(config["environment"])
    period_frames = config["training"]["update_period_frames"]
    return config["replay"]["batch_size"] * frames_per_step / period_frames


def samples_in_flight(config: Any) -> int:
    """How many samples the server may have handed out that no update has used."""
    # One more batch is at the device.
    return config["replay"]["batch_size"] * (config["distributed"]["prefetch_batches"] + 1)


def least_error_buffer(config: Any, num_actors: int) -> int:
    """The fewest samples by which inserts must be allowed to be ahead.

    The learner draws what is due for the frames that it knows of. An actor may have inserted, or
    be about to, what the learner has not been told of: `max_unconfirmed` transitions. One update
    takes a batch, and is not due before all its frames are played.
    """
    unknown = num_actors * config["distributed"]["max_unconfirmed"]
    ratio = samples_per_insert(config)
    return int(-(-ratio * unknown // 1)) + samples_in_flight(config)


def error_buffer(config: Any, num_actors: int) -> int:
    """The samples by which inserts may be ahead: as asked for, or else the least."""
    return config["distributed"]["error_buffer"] or least_error_buffer(config, num_actors)


def updates_ahead(config: Any, num_actors: int) -> int:
    """How many updates the actors may make due before the learner has to have done some."""
    return error_buffer(config, num_actors) // config["replay"]["batch_size"]


def tables(config: Any, num_actors: int) -> list[dict[str, Any]]:
    """The tables of a run's replay server, as replay/reverb_server/tables.py describes them.

    An item's priority in `transitions` is its weight: priority**exponent, mixed with the mean
    (replay/reverb/priorities.py); so the table's own exponent is 1.
    """
    replay = config["replay"]
    transitions = {
        "name": TRANSITIONS,
        "kind": "prioritized",
        "max_size": replay["capacity"],
        "min_size": replay["min_size"],
        "priority_exponent": 1.0,
        "samples_per_insert": samples_per_insert(config),
        "error_buffer": float(error_buffer(config, num_actors)),
        "blocks": "inserts",
    }
    return [
        transitions,
        {"name": PARAMETERS, "kind": "latest"},
        {"name": STATUS, "kind": "latest"},
        {"name": REPORTS, "kind": "queue", "max_size": _MAX_REPORTS},
    ]
