"""Child processes on the nodes of a Ray cluster.

A command runs as the child of a Ray actor, and dies with it. Needs the extra `ray`, and on every
node the same paths as here for the checkout, the environments, and the files that commands
write, logs included. A shared file system provides that.
"""

import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from cluster.supervision import processes
from core import checks

# Types are checked without Ray too.
# pyright: reportMissingImports=false
try:
    import ray
    import ray.exceptions
    import ray.util
    import ray.util.scheduling_strategies
except ImportError as error:
    raise checks.ConfigError(
        "cluster = 'ray': Ray is not installed: expected the extra `ray`, "
        "as by pip install '.[ray]'"
    ) from error

NODE_ADDRESS = "{node_address}"
"""Stands in a command's arguments for the address of the node it runs on."""

# Variables that a local command would inherit, and other machines need.
_ENVIRONMENT = ("JAX_", "OMP_", "XLA_")
# Where Python finds modules, of this project and of one's own; also Ray's process needs them.
_MODULES = ("PYTHONPATH", "PYTHONSAFEPATH")
_POLL_SECONDS = 0.1
_PROBE_SECONDS = 10.0
_KILL_SECONDS = 10.0
_PATIENCE_SECONDS = 60.0


def connect() -> None:
    """Joins the cluster at $RAY_ADDRESS, or else the one that this machine belongs to.

    Raises:
      ConfigError: there is none.
    """
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS", "auto")
    try:
        _probe(address)
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise checks.ConfigError(
            f"cluster = 'ray': no cluster at RAY_ADDRESS = {address!r}: expected one that "
            f"`ray start` has begun: {reason}"
        ) from error


def _probe(address: str) -> None:
    """Raises OSError if nothing listens at "host:port"; Ray itself would try that for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and "/" not in host and port.isdecimal():
        socket.create_connection((host, int(port)), _PROBE_SECONDS).close()


def num_gpus() -> int:
    """How many GPUs the cluster has."""
    return int(ray.cluster_resources().get("GPU", 0))


def own_node() -> str:
    """The ID of this process's node in the cluster."""
    return ray.get_runtime_context().get_node_id()


def node_at(host: str) -> str:
    """The ID in the cluster of the node with a name or address.

    Raises:
      ConfigError: the cluster has no such node.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    for node in nodes:
        if host in (node["NodeManagerAddress"], node["NodeManagerHostname"]):
            return node["NodeID"]
    known = ", ".join(sorted({node["NodeManagerAddress"] for node in nodes}))
    raise checks.ConfigError(f"host = {host!r}: expected a node of the Ray cluster: {known}")


class RayProcess:
    """A command running on a node of the cluster, with the interface of `processes.Process`.

    It waits for a node with the CPUs and GPUs that it needs. If its node is lost, it has ended.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        num_cpus: float = 1,
        num_gpus: float = 0,
        node: str | None = None,
    ):
        """Asks the cluster to start the command, and does not wait for that.

        Args:
          command: the path of an executable, and its arguments, each with NODE_ADDRESS replaced.
          log: its stdout and stderr are appended to this file.
          num_cpus: taken from those of the node.
          num_gpus: taken from those of the node; the command sees no others.
          node: where it should run, if that is up and has room; see `node_at`.
        """
        self._log = log.absolute()
        self._log_begin = self._log.stat().st_size if self._log.exists() else 0
        self._begin = time.monotonic()
        self._is_placed = self._has_warned = False
        self._needs = f"num_cpus = {num_cpus:g}, num_gpus = {num_gpus:g}"
        self._exit_code: int | None = None
        self._killed: float | None = None
        self._lost = ""
        environment = {k: v for k, v in os.environ.items() if k.startswith(_ENVIRONMENT)}
        options = {"num_cpus": num_cpus, "num_gpus": num_gpus, **_near(node), **_with_modules()}
        # Ray must not restart a dead one: that is the caller's task.
        host: Any = ray.remote(_Host).options(max_restarts=0, **options)
        self._host = host.remote(list(command), str(self._log), os.getcwd(), environment)
        self._answer = self._host.poll.remote()

    @property
    def seconds(self) -> float:
        """Since the start; while it waits for a node, since it was requested."""
        return time.monotonic() - self._begin

    def poll(self) -> int | None:
        """The exit code, minus the signal's number if one ended it; None while it runs.

        Also -SIGKILL if the node is lost.
        """
        if self._exit_code is None:
            self._look()
        return self._exit_code

    def wait(self) -> int:
        """Waits for the end and returns the exit code as `poll` does."""
        while (exit_code := self.poll()) is None:
            time.sleep(_POLL_SECONDS)
        return exit_code

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; nothing happens if the process has ended."""
        if self.poll() is not None:
            return
        if not self._is_placed:
            self._end(-number)
            return
        self._host.send.remote(int(number))
        if number == signal.SIGKILL and self._killed is None:
            self._killed = time.monotonic()

    def lines(self) -> list[str]:
        """The last lines that this process wrote to its log, empty ones left out.

        One more if it was lost.
        """
        lines = processes.last_lines(self._log, self._log_begin)
        return [*lines, self._lost] if self._lost else lines

    def _look(self) -> None:
        """Takes the answer to the last poll, if there is one, and polls again."""
        ready, _ = ray.wait([self._answer], timeout=0)
        if not ready:
            self._consider_patience()
            return
        try:
            exit_code: Any = ray.get(self._answer)
        except ray.exceptions.ActorUnavailableError:  # it may come back
            exit_code = None
        except ray.exceptions.RayActorError as error:
            self._lose(f"lost with its Ray process: {_reason(error)}")
            return
        if exit_code is not None:
            self._end(exit_code)
            return
        if not self._is_placed:
            self._is_placed, self._begin = True, time.monotonic()
        self._answer = self._host.poll.remote()

    def _consider_patience(self) -> None:
        """Gives up a process that was killed and does not answer; warns if there is no room."""
        if self._killed is not None and time.monotonic() > self._killed + _KILL_SECONDS:
            self._lose("lost: killed, and its node does not answer")
        elif not self._is_placed and not self._has_warned and self.seconds > _PATIENCE_SECONDS:
            self._has_warned = True
            logging.warning("%s: no node with %s is free", self._log.stem, self._needs)

    def _lose(self, reason: str) -> None:
        self._lost = reason
        self._end(-signal.SIGKILL)

    def _end(self, exit_code: int) -> None:
        """Keeps the exit code, and releases the CPUs and GPUs."""
        self._exit_code = exit_code
        ray.kill(self._host)


class _Host:
    """Lives in a Ray process on some node, and has the command as its child."""

    def __init__(self, command: list[str], log: str, directory: str, environment: dict[str, str]):
        os.chdir(directory)
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray sets it
        os.environ.update(environment)
        address = ray.util.get_node_ip_address()
        command = [argument.replace(NODE_ADDRESS, address) for argument in command]
        self._process = processes.Process(command, Path(log))

    def poll(self) -> int | None:
        return self._process.poll()

    def send(self, number: int) -> None:
        self._process.send(signal.Signals(number))


def _near(node: str | None) -> dict[str, Any]:
    """The option to make Ray prefer a node."""
    if node is None:
        return {}
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=True)
    return {"scheduling_strategy": strategy}


def _with_modules() -> dict[str, Any]:
    """The option to make modules found on the node as they are here."""
    variables = {name: os.environ[name] for name in _MODULES if name in os.environ}
    return {"runtime_env": {"env_vars": variables}} if variables else {}


def _reason(error: Exception) -> str:
    """The last line of Ray's long message; for an error in `_Host`, that error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
