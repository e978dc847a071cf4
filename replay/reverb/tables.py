"""The tables that a distributed run asks of its replay server."""

from collections.abc import Mapping
from typing import Any

from core import checks

TRANSITIONS, PARAMETERS, STATUS = "transitions", "parameters", "status"
REPORTS, MARK = "reports", "mark"

CHECKS: Mapping[str, checks.Check] = {
    "chunk_length": checks.integer(1),
    "max_unconfirmed": checks.integer(1),
    "prefetch_batches": checks.integer(1),
    "decoder_processes": checks.integer(-1),
    "credit_frames": checks.integer(1),
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
      ConfigError: for a bad key or value, or several seeds.
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
    capacity = config["replay"]["capacity"]
    if distributed["max_unconfirmed"] > capacity:
        raise checks.ConfigError(
            f"distributed.max_unconfirmed = {distributed['max_unconfirmed']}: expected at most "
            f"replay.capacity = {capacity}"
        )
    processes, batches = distributed["decoder_processes"], distributed["prefetch_batches"]
    if processes > batches:
        raise checks.ConfigError(
            f"distributed.decoder_processes = {processes}: expected at most the {batches} of "
            "distributed.prefetch_batches, or some would have nothing to do"
        )


def tables(config: Any) -> list[dict[str, Any]]:
    """The tables of a run's replay server, as replay/reverb/server/tables.py describes them.

    An item's priority in `transitions` is its weight: priority**exponent, mixed with the mean
    (replay/reverb/sampling/priorities.py); so the table's own exponent is 1. Nothing ever waits to
    be inserted: how far the actors may run ahead is the learner's account alone.
    """
    replay = config["replay"]
    return [
        {
            "name": TRANSITIONS,
            "kind": "prioritized",
            "max_size": replay["capacity"],
            "min_size": replay["min_size"],
            "priority_exponent": 1.0,
        },
        {"name": PARAMETERS, "kind": "latest"},
        {"name": STATUS, "kind": "latest"},
        {"name": REPORTS, "kind": "queue", "max_size": _MAX_REPORTS},
        {"name": MARK, "kind": "latest"},
    ]
