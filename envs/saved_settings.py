"""An environment's settings as part of its state, which is restored only into an equal one."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def encode(settings: Mapping[str, Any]) -> np.ndarray:
    """Settings (JSON values by name) as a 0-d array of text, fit for an .npz file."""
    return np.array(json.dumps(settings, sort_keys=True))


def check_equal(saved: np.ndarray, settings: Mapping[str, Any]) -> None:
    """Compares `encode`'s result with the settings of this environment.

    Raises:
      ValueError: naming each setting that differs.
    """
    theirs, ours = json.loads(str(saved)), json.loads(str(encode(settings)))
    differences = [
        f"{name} = {theirs.get(name)!r}, here {ours.get(name)!r}"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name)
    ]
    if differences:
        raise ValueError("state of an environment of other settings: " + "; ".join(differences))
