"""The worker that trains tianshou's Rainbow, at the settings of its Atari example.

Started by benchmarks.end_to_end with the interpreter of an environment that has requirements.txt
of this directory installed; README.md there lists what differs from the example and why.
Source: thu-ml/tianshou v2.0.1, examples/atari/atari_rainbow.py.
"""

# The packages of the peer are not those of the project.
# pyright: reportMissingImports=false

import argparse
import importlib
import math
import platform
import time
import warnings
from importlib import metadata
from typing import Any

import ale_py
import gymnasium
import numpy as np
import torch
from tianshou.algorithm import RainbowDQN
from tianshou.algorithm.modelfree.c51 import C51Policy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, PrioritizedVectorReplayBuffer
from tianshou.env.atari import atari_wrapper
from tianshou.env.atari.atari_network import RainbowNet
from tianshou.highlevel.env import EnvMode, VectorEnvType
from tianshou.trainer import OffPolicyTrainerParams

from benchmarks import line_protocol

_PACKAGES = ("tianshou", "torch", "ale-py", "gymnasium", "numpy")
_BATCH_SIZE = 32
_AGENT_STEPS_PER_UPDATE = 4
_N_STEP = 3
_NUM_ATOMS = 51
_WARM_UP_UPDATES = 20
_VECTOR_ENVS = ("dummy", "subproc_shared_mem_auto", "envpool")


class CountedRainbow(RainbowDQN):
    """Rainbow that counts its updates."""

    num_updates = 0

    def _update_with_batch(self, batch: Any) -> Any:
        self.num_updates += 1
        return super()._update_with_batch(batch)


class UncheckedBuffer(PrioritizedVectorReplayBuffer):
    """A buffer that the trainer need not search for NaN, whole and stacked, after every step."""

    def hasnull(self) -> bool:
        """False; the emulators' bytes are never NaN."""
        return False


def main() -> None:
    """Warms up, and trains when told to."""
    arguments = _parse()
    answers = line_protocol.claim_stdout()
    warnings.filterwarnings("ignore")
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    algorithm, trainer = make(arguments)
    collector = trainer.params.training_collector
    collector.reset()
    collector.collect(n_step=_round_up(arguments.warm_up_steps, arguments.num_envs), random=True)
    while algorithm.num_updates < _WARM_UP_UPDATES:
        trainer.execute_epoch()

    def train(seconds: float) -> line_protocol.Counts:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            trainer.execute_epoch()
        return line_protocol.Counts(collector.collect_step, algorithm.num_updates)

    line_protocol.serve(answers, _describe(arguments), train)


def make(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """The algorithm and its trainer; an epoch is a hundred steps or so."""
    environments = _make_environments(arguments.vector_env, arguments.num_envs)
    algorithm = _make_algorithm().to(arguments.device)
    buffer = UncheckedBuffer(
        arguments.replay_capacity,
        buffer_num=arguments.num_envs,
        ignore_obs_next=True,
        save_only_last_obs=True,
        stack_num=4,
        alpha=0.5,
        beta=0.4,
        weight_norm=True,
    )
    # Updates are rounded to a whole number per collection: 2.5 would be 2.
    steps = math.lcm(arguments.num_envs, _AGENT_STEPS_PER_UPDATE)
    params = OffPolicyTrainerParams(
        training_collector=Collector(algorithm, environments, buffer, exploration_noise=True),
        test_collector=None,
        max_epochs=10**9,
        epoch_num_steps=_round_up(100, steps),
        collection_step_num_env_steps=steps,
        update_step_num_gradient_steps_per_sample=1 / _AGENT_STEPS_PER_UPDATE,
        batch_size=_BATCH_SIZE,
        training_fn=lambda _, steps: _anneal(algorithm.policy, buffer, steps),
        test_in_training=False,
        show_progress=False,
    )
    return algorithm, algorithm.create_trainer(params)


def _make_environments(kind: str, num_envs: int) -> Any:
    """The vector environment; kind is "envpool" or a VectorEnvType."""
    gymnasium.register_envs(ale_py)
    if kind == "envpool":
        # If it is missing, tianshou would silently step its own environments.
        importlib.import_module("envpool")
    # The original gives an abstract type, which numpy no longer accepts as a dtype.
    atari_wrapper.get_space_dtype = lambda space: space.dtype
    factory = atari_wrapper.AtariEnvFactory(
        "PongNoFrameskip-v4",
        frame_stack=4,
        use_envpool_if_available=kind == "envpool",
        venv_type=VectorEnvType("dummy" if kind == "envpool" else kind),
    )
    return factory.create_venv(num_envs, EnvMode.TRAINING, seed=0)


def _make_algorithm() -> CountedRainbow:
    actions = gymnasium.spaces.Discrete(6)
    network = RainbowNet(
        c=4, h=84, w=84, action_shape=int(actions.n), num_atoms=_NUM_ATOMS, noisy_std=0.1
    )
    policy = C51Policy(
        model=network,
        action_space=actions,
        num_atoms=_NUM_ATOMS,
        v_min=-10.0,
        v_max=10.0,
        eps_training=1.0,
        eps_inference=0.005,
    )
    return CountedRainbow(
        policy=policy,
        optim=AdamOptimizerFactory(lr=6.25e-5),
        gamma=0.99,
        n_step_return_horizon=_N_STEP,
        target_update_freq=500,
    )


def _anneal(policy: Any, buffer: Any, steps: int) -> None:
    """The example's schedules of epsilon and of the importance exponent."""
    policy.set_eps_training(float(np.interp(steps, [0, 1e6], [1.0, 0.05])))
    buffer.set_beta(float(np.interp(steps, [0, 5e6], [0.4, 1.0])))


def _describe(arguments: argparse.Namespace) -> dict[str, Any]:
    environments = f"{arguments.num_envs} environments ({arguments.vector_env})"
    return {
        "settings": f"{environments}, {arguments.device}",
        "work": {
            "game": "pong",
            "batch_size": _BATCH_SIZE,
            "agent_steps_per_update": _AGENT_STEPS_PER_UPDATE,
            "n_step": _N_STEP,
            "num_atoms": _NUM_ATOMS,
            "replay_capacity": arguments.replay_capacity,
            "warm_up_steps": arguments.warm_up_steps,
        },
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
    }


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_envs", type=int, default=10)
    parser.add_argument("--replay_capacity", type=int, default=20_000)
    parser.add_argument("--warm_up_steps", type=int, default=3_000)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--vector_env", choices=_VECTOR_ENVS, default="dummy")
    return parser.parse_args()


if __name__ == "__main__":
    main()
