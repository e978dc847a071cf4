"""Where the roles of a distributed run are placed on a Ray cluster."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.supervision import ray_processes, supervisor
from core import checks


def starter(config: Any, num_actors: int, host: str | None) -> supervisor.Start:
    """Joins the cluster; returns what starts a role on it.

    Each role takes a CPU. The learner takes a GPU if there is one and its platform allows; the
    replay server goes to a chosen node, and to another one if that is lost.

    Args:
      config: of the run.
      num_actors: how many actors it has.
      host: the replay server's node, by its address or name; None: this process's.

    Raises:
      ConfigError: there is no cluster, or it lacks the node or the GPUs that are asked for.
    """
    ray_processes.connect()
    has_evaluator = config.evaluation.period_frames > 0
    others = num_actors + has_evaluator
    learner_gpus, other_gpus = share_gpus(
        ray_processes.num_gpus(), config.platform, config.distributed.actor_platform, others
    )
    gpus = {"learner": learner_gpus, "actor": other_gpus, "evaluator": other_gpus}
    replay_node = ray_processes.node_at(host) if host else ray_processes.own_node()

    def start(name: str, index: int, command: Sequence[str], log: Path) -> ray_processes.RayProcess:
        del index
        node = replay_node if name == "replay" else None
        return ray_processes.RayProcess(command, log, 1, gpus.get(name, 0), node)

    return start


def share_gpus(
    num_gpus: int, learner_platform: str, other_platform: str, num_others: int
) -> tuple[float, float]:
    """Divides a cluster's GPUs between the learner and the others.

    Args:
      num_gpus: how many there are.
      learner_platform: "auto", "cpu" or "gpu".
      other_platform: the same for actors and evaluator.
      num_others: how many of those there are.

    Returns:
      The GPUs of the learner and of each of the others, perhaps less than one.

    Raises:
      ConfigError: "gpu" is asked for, and there is none.
    """
    platforms = {"platform": learner_platform, "distributed.actor_platform": other_platform}
    for key, platform in platforms.items():
        if platform == "gpu" and not num_gpus:
            raise checks.ConfigError(f"{key} = 'gpu': the Ray cluster has no GPU")
    if not num_gpus or other_platform == "cpu":
        return float(num_gpus > 0 and learner_platform != "cpu"), 0.0
    if learner_platform == "cpu":
        return 0.0, _share(num_others, num_gpus)
    if num_gpus == 1:
        return 0.5, 0.5 / max(1, num_others)
    return 1.0, _share(num_others, num_gpus - 1)


def _share(num_processes: int, num_gpus: int) -> float:
    """The share of a GPU that each of several processes takes, so that all fit."""
    return 1 / max(1, math.ceil(num_processes / num_gpus))
