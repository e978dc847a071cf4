"""Published scores on the Atari games, each with the protocol it was measured under.

The numbers are in analysis/data/, whose README names the source of every column. Scores of
different protocols are not comparable: show the protocol beside every number.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_DATA = Path(__file__).parent / "data"

NOT_DOCUMENTED = "not documented"
"""The numbers' source does not say."""


class ScoreProtocol(NamedTuple):
    """How scores were measured; each attribute in words.

    Attributes:
      sticky_actions: the probability that the previous action is repeated.
      starts: how episodes begin.
      life_loss: what the agent is told when a life is lost.
      actions: the game's own or all 18.
      episode_cap: when an episode is cut off.
      returns: of evaluation episodes, or of the training itself.
      checkpoint: the best during training (chosen by its own scores) or the final one.
      frames: emulator frames of training.
      seeds: independent runs that the score is the mean of.
    """

    sticky_actions: str = NOT_DOCUMENTED
    starts: str = NOT_DOCUMENTED
    life_loss: str = NOT_DOCUMENTED
    actions: str = NOT_DOCUMENTED
    episode_cap: str = NOT_DOCUMENTED
    returns: str = NOT_DOCUMENTED
    checkpoint: str = NOT_DOCUMENTED
    frames: str = NOT_DOCUMENTED
    seeds: str = NOT_DOCUMENTED

    def describe(self) -> str:
        """The protocol in one line."""
        parts = (f"{name.replace('_', ' ')}: {text}" for name, text in self._asdict().items())
        return "; ".join(parts)


class PublishedAgent(NamedTuple):
    """A column of published scores.

    Attributes:
      name: the column.
      label: for tables and legends.
      protocol: how the scores were measured.
      source: where the numbers were taken from.
    """

    name: str
    label: str
    protocol: ScoreProtocol
    source: str


def load() -> Mapping[str, Mapping[str, float]]:
    """Unnormalized scores by agent and game; a game that was not published is left out."""
    rows = _read(_DATA / "atari57_scores.csv")
    return {
        agent: {row["game"]: float(row[agent]) for row in rows if row[agent]} for agent in AGENTS
    }


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


_NOOPS = "up to 30 random no-ops"

_RLDB = "Rainbow paper (arXiv 1710.02298), as collected in seungjaeryanlee/rldb"
_HESSEL = ScoreProtocol(
    sticky_actions="none (not verified in the paper)",
    life_loss="discount 0, the game goes on (not verified in the paper)",
    frames="200M",
)
_DREAMER = "danijar/dreamerv3, scores/atari57-{}.json.gz"

_AGENTS = (
    PublishedAgent(
        "rainbow_hessel2017_noop",
        "Rainbow paper, no-ops",
        _HESSEL._replace(starts=_NOOPS),
        _RLDB,
    ),
    PublishedAgent(
        "rainbow_hessel2017_humanstart",
        "Rainbow paper, human starts",
        _HESSEL._replace(starts="positions from human play"),
        _RLDB,
    ),
    PublishedAgent(
        "rainbow_pfrl_best",
        "PFRL Rainbow, best checkpoint",
        ScoreProtocol(
            sticky_actions="none (NoFrameskip-v4)",
            starts=_NOOPS,
            episode_cap="108,000 frames",
            returns="evaluation: 200 episodes",
            checkpoint="best",
            frames="200M",
            seeds="2 in the source's summary, 1 in its text",
        ),
        "pfnet/pfrl, examples/atari/reproduction/rainbow/README.md",
    ),
    PublishedAgent(
        "rainbow_dopamine_sticky_200M",
        "Dopamine Rainbow, sticky",
        ScoreProtocol(
            sticky_actions="0.25",
            starts="no no-ops",
            life_loss="not told",
            actions="the game's minimal set",
            episode_cap="27,000 agent steps",
            returns="training",
            checkpoint="final",
            frames="200M",
            seeds="5",
        ),
        "google/dopamine, baselines/atari/data/<game>.json",
    ),
    PublishedAgent(
        "rainbow_impala_dopamine_sticky_200M",
        "Dopamine Rainbow, IMPALA network",
        ScoreProtocol(
            sticky_actions="not documented, presumably 0.25",
            checkpoint="final",
            frames="200M",
            seeds="3 to 5",
        ),
        "google/dopamine, baselines/atari/data/<game>_Impala.json",
    ),
    PublishedAgent(
        "dreamerv3_200M", "DreamerV3", ScoreProtocol(frames="200M"), _DREAMER.format("dreamerv3")
    ),
    PublishedAgent(
        "muzero_200M", "MuZero", ScoreProtocol(frames="200M"), _DREAMER.format("muzero")
    ),
    PublishedAgent(
        "ppo_dreamer_200M",
        "PPO, as DreamerV3's authors ran it",
        ScoreProtocol(frames="200M"),
        _DREAMER.format("ppo_fixhp"),
    ),
    PublishedAgent(
        "der_van_hasselt2019_400k",
        "Data-efficient Rainbow, van Hasselt et al. 2019",
        ScoreProtocol(
            sticky_actions="none (not verified in the paper)",
            starts=f"{_NOOPS} (not verified in the paper)",
            life_loss="end of episode (not verified in the paper)",
            episode_cap="108,000 frames (not verified in the paper)",
            checkpoint="final (not verified in the paper)",
            frames="400k",
            seeds="5 (not verified in the paper)",
        ),
        "arXiv 1906.05243, as collected in mila-iqia/spr, src/rlpyt_utils.py",
    ),
)

AGENTS: Mapping[str, PublishedAgent] = {agent.name: agent for agent in _AGENTS}
"""Published agents by name."""
