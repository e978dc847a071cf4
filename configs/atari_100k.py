"""Atari 100k: data-efficient Rainbow as published, 400k frames of one game.

    python -m scripts.train --config=configs/atari_100k.py:kung_fu_master

Shows: how close this Rainbow comes to published scores at a scale that two CPU cores reach
(docs/results/atari_100k). `data_efficient.py` is the same in 8 environments at once.

Sources: [D] van Hasselt et al. 2019, arXiv 1906.05243, by its public implementations, which agree
unless noted: [K] Kaixhin/Rainbow at 1745b184, data-efficient options; [G] google/dopamine at
5873f549, labs/atari_100k/configs/DER.gin, of Agarwal et al. 2021 (n-step 10, DQN's network).
Differences from [K] that remain, besides those in docs/algorithms.md:

* The step that loses a life has discount 0 and the game goes on; [K] then plays a no-op first.
* Noise is drawn anew for every action and update; [K] shares a draw between both.
"""

from typing import Any

from configs import data_efficient


def get_config(game: str = "kung_fu_master") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = data_efficient.get_config(game)
    config.name = "atari_100k"
    config.num_envs = 1  # [D]
    config.optimizer.kwargs.eps = 1.5e-4  # [D]
    config.replay.uniform_mix = 0.0  # [D] has none
    config.replay.max_priority = 1e9  # [D] does not clip them
    config.agent.evaluation_noise = False  # [K] [G]
    config.agent.evaluation_epsilon = 1e-3  # [K] [G]
    # At the end alone. [G] 100 episodes; [K] 10, every 40k frames.
    config.evaluation.period_frames = 400_000
    config.evaluation.episodes = 100
    config.evaluation.num_envs = 10
    # One per 100k frames; their replays share the files of what they have in common.
    config.snapshot.keep = 4
    return config
