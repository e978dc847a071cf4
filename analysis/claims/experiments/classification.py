"""Streams of classification tasks for value-based agents (configs/classification_stream.py)."""

from collections.abc import Sequence

from analysis.claims.experiments import contract, streams, task_quantities

QUANTITY = "greedy_reward"
DEVIATION = "norm_deviation"
"""Of the norms that NaP projects, or would: the largest relative one since initialization."""

MAIN_ARMS = ("plain", "ln", "nap", "nap_schedule")
ALL_ARMS = (*MAIN_ARMS, "l2_init", "redo", "reset")
SCHEDULES = (*MAIN_ARMS, "nap_linear")


def name(agent: str, arm: str) -> str:
    """Of the runs of an agent and an arm."""
    is_default = (agent, arm) == ("c51", "plain")
    return "classification_stream" if is_default else f"classification_{agent}_{arm}"


_SMALL_ARMS = 5
QUANTITIES = {
    QUANTITY: task_quantities.means(QUANTITY),
    DEVIATION: task_quantities.norm_deviation,
}
PLOTTED = streams.PlottedQuantity(QUANTITY, "share of images answered rightly")
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
        tuned = contract.TunedSweep(
            config=CONFIG,
            names={f"{agent}:{arm}": name(agent, arm) for arm in used},
            rates={f"{agent}:{arm}": ("3e-4", "1e-3", "3e-3") for arm in used},
            merit=lambda run: task_quantities.of_last_third(run, task_quantities.means(QUANTITY)),
            seeds=20,
            keys=() if stream == "pixel" else (f"environment.each.stream={stream}",),
        )
        return streams.outcome(tuned.run(runner), QUANTITIES)

    return contract.Experiment(
        title,
        PROXY,
        minutes,
        run,
        streams.draw_tasks(PLOTTED),
        "left half of the last figure of the NaP paper: over two passes through ten games, "
        "Rainbow falls behind a new network, NaP does not",
    )
