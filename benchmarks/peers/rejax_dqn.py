"""The worker that trains rejax's Double DQN on gymnax's CartPole, all of it one compiled program.

Started by benchmarks.loops with the interpreter of an environment that has rejax.txt of this
directory installed; README.md there says what differs from the loop beside it.
Source: keraJLi/rejax v0.1.3, rejax/algos/dqn.py.
"""

# The packages of the peer are not those of the project.
# pyright: reportMissingImports=false

import argparse
import time
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from rejax import get_algo
from rejax.networks import DiscreteQNetwork, EpsilonGreedyPolicy

from benchmarks import line_protocol

_PACKAGES = ("rejax", "gymnax", "jax", "flax")


def main() -> None:
    """Warms up, and trains when told to."""
    arguments = _parse()
    answers = line_protocol.claim_stdout()
    algorithm = make(arguments)
    state = algorithm.init_state(jax.random.key(0))
    # Two names of one buffer can't both be given up to the program.
    state = state.replace(q_target_params=jax.tree.map(jnp.copy, state.q_target_params))
    updates = 0

    def iterate(state: Any) -> Any:
        step = lambda _, state: algorithm.train_iteration(state)  # noqa: E731
        return jax.lax.fori_loop(0, arguments.iterations, step, state)

    iterate = jax.jit(iterate, donate_argnums=0)
    # The buffer's fill, without updates, and the compilation.
    while int(state.global_step) <= arguments.capacity:
        state = iterate(state)

    def train(seconds: float) -> line_protocol.Counts:
        nonlocal state, updates
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            state = jax.block_until_ready(iterate(state))
            updates += arguments.iterations * arguments.updates
        return line_protocol.Counts(int(state.global_step), updates)

    versions = {name: metadata.version(name) for name in _PACKAGES}
    line_protocol.serve(answers, {"work": vars(arguments), "versions": versions}, train)


def make(arguments: argparse.Namespace) -> Any:
    """The algorithm."""
    algorithm = get_algo("dqn").create(
        env="CartPole-v1",
        num_envs=arguments.num_envs,
        num_epochs=arguments.updates,
        buffer_size=arguments.capacity,
        fill_buffer=arguments.capacity,
        batch_size=arguments.batch_size,
        target_update_freq=arguments.target_period,
        polyak=0.0,
    )
    # create() has no argument for the sizes.
    network = EpsilonGreedyPolicy(DiscreteQNetwork)(
        hidden_layer_sizes=(arguments.width, arguments.width), action_dim=2, activation=linen.relu
    )
    return algorithm.replace(agent=network)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    numbers = (
        "num_envs",
        "updates",
        "iterations",
        "capacity",
        "batch_size",
        "target_period",
        "width",
    )
    for name in numbers:
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
