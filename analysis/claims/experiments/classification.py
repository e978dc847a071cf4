"""Streams of classification tasks for value-based agents (configs/classification_stream.py)."""

from collections.abc import Sequence

from analysis.claims.experiments import contract, streams, task_quantities

QUANTITY = "greedy_reward"
DEVIATION = "norm_deviation"
"""Of the norms that NaP projects, or would: the largest relative one since initialization."""

MAIN_ARMS = ("plain", "ln", "nap", "nap_schedule")
ALL_ARMS = (*MAIN_ARMS, "l2_init", "redo", "reset")
SCHEDULES = (*MAIN_ARMS, "nap_linear")

REGULARIZED = ("l2", "incremental_l2", "periodic_l2", "l2_init")
INJECTED = 15
"""The first task after an injection at half of 30."""

TECHNIQUES = ("plain", *REGULARIZED, "ln_after", "leaky_relu", "injection")


def name(agent: str, arm: str) -> str:
    """Of the runs of an agent and an arm."""
    is_default = (agent, arm) == ("c51", "plain")
    return "classification_stream" if is_default else f"classification_{agent}_{arm}"


_SMALL_ARMS = 5
QUANTITIES = {
    QUANTITY: task_quantities.means(QUANTITY),
    DEVIATION: task_quantities.norm_deviation,
}
PLOTTED = streams.PlottedQuantity(QUANTITY, "share of images answered correctly")
PROXY = "sequences of Atari games"
CONFIG = "classification_stream"


def make(
    title: str,
    agent: str,
    arms: Sequence[str],
    minutes: tuple[int, int],
    stream: str = "pixel",
) -> contract.Experiment:
    """The experiment of an agent; its small size has the first five arms."""

    def run(runner: contract.Runner) -> contract.Outcome:
        used = arms if runner.is_full else arms[:_SMALL_ARMS]
        keys = () if stream == "pixel" else (f"environment.each.stream={stream}",)
        return streams.outcome(_tuned(agent, used, keys).run(runner), QUANTITIES)

    return contract.Experiment(
        title,
        PROXY,
        minutes,
        run,
        streams.draw_tasks([_plotted(agent, arms)]),
        "left half of the last figure of the NaP paper: over two passes through ten games, "
        "Rainbow falls behind a new network, NaP does not",
        (QUANTITY, name(agent, "plain")),
    )


def techniques() -> contract.Experiment:
    """What Cheng, Chen and Ma do to a DQN, with the metrics that they draw."""
    return streams.make(
        "Double DQN with half the squared error on the stream, with seven techniques against the "
        "loss of plasticity",
        "DQN on MsPacman",
        (7, 30),
        _tuned("mse", TECHNIQUES, ("log.ranks_period_frames=8_000",)),
        {
            QUANTITY: task_quantities.means(QUANTITY),
            "weight_magnitude": task_quantities.layer_means("layers", "mean_abs_weight"),
            "updated_units": task_quantities.layer_means("layers", "updated_units"),
            "updated_units_td": task_quantities.layer_means("layers", "updated_units_td"),
            "weight_effective_rank": task_quantities.layer_means("ranks", "weight_effective_rank"),
            "feature_effective_rank": task_quantities.layer_means(
                "ranks", "feature_effective_rank"
            ),
        },
        [
            _plotted("mse", TECHNIQUES)._replace(quantity=quantity, label=label)
            for quantity, label in {
                QUANTITY: PLOTTED.label,
                "weight_magnitude": "mean absolute weight",
                "updated_units": "share of units updated",
                "updated_units_td": "share updated by the loss alone",
                "weight_effective_rank": "effective rank of weights",
                "feature_effective_rank": "effective rank of features",
            }.items()
        ],
        "figures 1 to 4 of Cheng, Chen and Ma, of single runs: all techniques are above plain DQN, "
        "LayerNorm most; weights grow in all, less with L2; few units are updated without a "
        "technique, all of them with L2; the effective rank falls, then rises, and is highest "
        "with LayerNorm",
    )


def _plotted(agent: str, arms: Sequence[str]) -> streams.PlottedQuantity:
    """By the arms' own words, as plain C51 is called classification_stream in files."""
    return PLOTTED._replace(arms={arm: name(agent, arm) for arm in arms})


def _tuned(agent: str, arms: Sequence[str], keys: Sequence[str]) -> contract.TunedSweep:
    return contract.TunedSweep(
        config=CONFIG,
        names={f"{agent}:{arm}": name(agent, arm) for arm in arms},
        rates={f"{agent}:{arm}": ("3e-4", "1e-3", "3e-3") for arm in arms},
        merit=lambda run: task_quantities.of_last_third(run, task_quantities.means(QUANTITY)),
        seeds=20,
        keys=keys,
    )
