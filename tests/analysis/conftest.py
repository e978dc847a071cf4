"""Directories of runs with numbers that a test chooses."""

import csv
import importlib
import json

import pytest

from training import derived


def write_csv(path, rows):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def make_run(tmp_path):
    """(config file, argument, seed, evaluations, overrides) -> the directory of such a run.

    Evaluations are (frames, task, game, mean return). The run has logged all its frames.
    """

    def make(name, argument, seed, evaluations, frames=None, **overrides):
        config = importlib.import_module(f"configs.{name}").get_config(argument)
        config.seed = seed
        config.update_from_flattened_dict(overrides)
        resolved = derived.resolve(config)
        own = str(config.environment.get("game", argument))
        games = config.environment.get("games", (own,))
        path = tmp_path / "runs" / config.name / argument / f"seed_{seed}"
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(config.to_dict()))
        start = {"commit": "0123456789abcdef", "device": "cpu", "processor": "P", "cores": 1}
        start["resolved"] = derived.values(resolved)
        (path / "provenance.jsonl").write_text(json.dumps(start) + "\n")
        last = resolved.num_frames if frames is None else frames
        moments = [{"frames": f, "seed": seed} for f in (last // 2, last)]
        write_csv(path / "train.csv", [m | {"elapsed_seconds": 60.0} for m in moments])
        write_csv(path / "episodes.csv", [m | {"return": 5.0, "env_id": 0} for m in moments])
        layers = [
            m | {"layer": layer, "norm": norm, "update_ratio": 1e-3}
            for m in moments
            for layer, norm in (("torso/conv_0", 2.0), ("value_output", 9.0))
        ]
        write_csv(path / "layers.csv", layers)
        if evaluations:
            rows = [
                {"frames": f, "task": task, "game": game or games[0], "seed": seed}
                | {"episodes": 5, "mean_return": value, "std_return": 0.0}
                for f, task, game, value in evaluations
            ]
            write_csv(path / "evaluation.csv", rows)
        return path

    return make
