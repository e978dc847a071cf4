"""Rows as a run of Weights & Biases (package wandb, extra `wandb`)."""

import importlib.util
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import checks, durable_files
from training.logs.sinks import base

PROJECT = "effective-rainbow"
"""Unless the environment variable WANDB_PROJECT says otherwise."""


def check(mode: str) -> None:
    """Raises ConfigError if `log.wandb` asks for what is not installed."""
    if mode != "off" and importlib.util.find_spec("wandb") is None:
        raise checks.ConfigError(
            f"log.wandb = {mode!r}: expected 'off', as the package wandb is not installed "
            "(pip install -c constraints.txt -e '.[wandb]')"
        )


class WeightsAndBiases:
    """One run there for each run's directory, whatever the number of starts."""

    def __init__(self, path: Path, mode: str, part: str, name: str, config: Mapping[str, Any]):
        """Begins the run, or continues it.

        Args:
          path: the run's directory; what wandb writes is in `wandb/` of it.
          mode: "online" or "offline".
          part: of the directory's run that this process records: "training" or "evaluation".
          name: of the experiment.
          config: its configuration.

        Raises:
          ConfigError: if it can't begin, such as for want of a login.
        """
        check(mode)
        # Slow, and of an extra.
        import wandb  # pyright: ignore[reportMissingImports]
        from wandb import errors  # pyright: ignore[reportMissingImports]

        try:
            self._run = wandb.init(
                project=wandb.Settings().project or PROJECT,
                id=_identity(path / f"wandb_{part}.id"),
                resume="allow" if mode == "online" else None,
                mode=mode,  # type: ignore[arg-type]  (checked with the configuration)
                dir=str(path),
                name=str(path),
                group=name,
                job_type=part,
                config=dict(config),
                settings=wandb.Settings(console="off", silent=True),
            )
        except errors.Error as error:
            raise checks.ConfigError(f"log.wandb = {mode!r}: {error}") from error
        # A run that continues from its snapshot goes back in frames, which wandb's own steps can't.
        self._run.define_metric("*", step_metric="frames")

    def add(self, log: str, row: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
        """Sends the row's numbers, but for counts."""
        numbers = dict(base.scalars(log, row, labels))
        if numbers:
            self._run.log({"frames": row["frames"], **numbers})

    def close(self) -> None:
        """Waits until all rows are sent, or written if offline."""
        self._run.finish()


def _identity(path: Path) -> str:
    """The run's name at Weights & Biases, made at its first start."""
    if not path.exists():
        durable_files.replace_text(path, secrets.token_hex(4))
    return path.read_text(encoding="utf-8")
