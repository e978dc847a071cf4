"""Rainbow on one Atari game, with the hyperparameters of DQN Zoo.

    python -m scripts.train --config=configs/rainbow.py:breakout

Shows: the baseline of every comparison here. The full run is 200M frames and 12.5M updates.
Per-layer norms grow during training, so the effective learning rate decays unasked.

Sources: [Z] google-deepmind/dqn_zoo, dqn_zoo/rainbow/run_atari.py and agent.py at 45061f4b;
[H] Hessel et al. 2018, where it differs. Units are in the keys' names: frames are the
emulator's, four to an agent step; updates are the learner's. Keys that are None follow others as
long as they are not given: training/derived.py.
"""

import ml_collections
from ml_collections import config_dict

from envs import atari
from plasticity import projection, schedules


def get_config(game: str = "pong") -> ml_collections.ConfigDict:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = ml_collections.ConfigDict()
    config.name = "rainbow"
    config.seed = 1
    # Independent seeds trained by one program, each with num_envs environments.
    config.num_seeds = 1
    # Environments a seed acts in at once. [Z] 1; more of them share the network's passes.
    config.num_envs = 16
    # "auto", "cpu" or "gpu".
    config.platform = "auto"
    # Of products of float32 numbers: "float32", or JAX's "default", with which DQN Zoo ran: TF32 on
    # NVIDIA GPUs since Ampere, float32 elsewhere.
    config.precision = "default"
    config.num_frames = 200_000_000  # [Z]
    # How often a sequence is gone through; of no effect with one game, or with num_frames given.
    config.num_passes = 1

    config.environment = atari.default_config()
    config.environment.game = game
    config.agent = _agent()
    config.network = _network()
    config.replay = _replay()
    config.distributed = _distributed()
    config.optimizer = _optimizer()

    config.training = ml_collections.ConfigDict()
    config.training.update_period_frames = 16  # [Z]
    config.training.target_update_period_frames = 32_000  # [Z]

    config.evaluation = ml_collections.ConfigDict()
    # Frames of training between evaluations; 0: none during training. [Z] 1M
    config.evaluation.period_frames = 1_000_000
    # Episodes an evaluation averages over. [Z] all that end within 500k frames.
    config.evaluation.episodes = 20
    config.evaluation.num_envs = 8
    # Frames after which an episode of an evaluation is cut, should it not end by itself. [Z]
    config.evaluation.max_episode_frames = 108_000
    # In a sequence of games: also on every game played before, or on the present one alone.
    config.evaluation.all_games = False

    # What is forgotten when a sequence goes to its next game; of no effect with one game.
    config.task_switch = ml_collections.ConfigDict()
    config.task_switch.reset_params = False
    config.task_switch.reset_target = False
    config.task_switch.reset_optimizer = False
    config.task_switch.restart_schedule = False
    config.task_switch.clear_replay = False
    config.task_switch.restart_importance = False

    config.log = ml_collections.ConfigDict()
    config.log.period_frames = 50_000
    # Frames between measurements of each layer (norms, gradients, relative updates).
    config.log.layers_period_frames = 200_000
    config.log.tensorboard = True

    config.snapshot = ml_collections.ConfigDict()
    # Frames between snapshots; one is also written at the end and on Ctrl-C or SIGTERM.
    config.snapshot.period_frames = 1_000_000
    config.snapshot.keep = 2
    return config.lock()


def _agent() -> ml_collections.ConfigDict:
    agent = ml_collections.ConfigDict()
    agent.module = "rainbow"
    agent.num_atoms = 51  # [Z]
    agent.v_max = 10.0  # [Z]: atoms from -10 to 10
    agent.discount = 0.99  # [Z] additional_discount
    agent.n_step = 3  # [Z]
    agent.frame_stack = 4  # [Z] num_stacked_frames
    agent.max_abs_reward = 1.0  # [Z]
    agent.exploration_epsilon = 0.0  # [Z]: the noisy network explores
    agent.evaluation_epsilon = 0.0  # [Z]
    agent.evaluation_noise = True  # [Z] keeps the noise on
    return agent


def _network() -> ml_collections.ConfigDict:
    network = ml_collections.ConfigDict()
    network.torso = ml_collections.ConfigDict()
    network.torso.module = "nature"  # [Z]
    # "matmul" or "lax": how convolutions are computed; the results agree.
    network.torso.formulation = "matmul"
    network.norm = ml_collections.ConfigDict()
    # "none", "layer" or "rms", before every nonlinearity.
    network.norm.kind = "none"  # [Z]
    # "all" (height, width, channels) or "channels": the NaP paper does not say.
    network.norm.axes = "all"
    network.norm.epsilon = 1e-5
    network.norm.affine = True
    # Biases of layers that a norm follows; the NaP paper removes them.
    network.norm.keep_bias = False
    network.head = ml_collections.ConfigDict()
    network.head.hidden_size = 512  # [Z]
    network.head.dueling = True  # [Z]
    network.head.noisy = True  # [Z]
    network.head.noisy_sigma = 0.1  # [Z]; [H] 0.5
    # One draw of noise for the whole batch, or one per row.
    network.head.noise = "shared"  # [Z]
    # [Z] acts in one environment; here each has a draw of its own.
    network.head.acting_noise = "per_sample"
    return network


def _replay() -> ml_collections.ConfigDict:
    replay = ml_collections.ConfigDict()
    replay.capacity = 1_000_000  # [Z] transitions; 7.1 GB
    replay.min_size = 20_000  # [Z] 0.02 of the capacity
    replay.batch_size = 32  # [Z]
    replay.priority_exponent = 0.5  # [Z]
    replay.uniform_mix = 1e-3  # [Z] uniform_sample_probability
    replay.max_priority = 100.0  # [Z]: losses are clipped to it
    replay.importance_exponent = 0.4  # [Z], from the start of learning ...
    replay.importance_exponent_end = 1.0  # [Z], linearly ...
    # [Z] ... until so many agent steps; None: until the end of the run, as [Z]
    replay.importance_exponent_end_steps = config_dict.placeholder(int)
    return replay


def _distributed() -> ml_collections.ConfigDict:
    """Of scripts.launch alone; num_envs is the number of environments of each actor there."""
    distributed = ml_collections.ConfigDict()
    # Frames of an environment that are compressed and sent together.
    distributed.chunk_length = 4
    # Transitions an actor may have sent that the server has not confirmed.
    distributed.max_unconfirmed = 128
    # Batches drawn ahead of the update that uses them: their priorities are as old. Processes that
    # decode are busy with two each.
    distributed.prefetch_batches = 4
    # Processes that draw and decode batches for the learner; 0: a thread of its own does, which is
    # enough for some 250 a second; -1: 0 where it learns on a CPU, else 2.
    distributed.decoder_processes = -1
    # Frames that all actors together may have played beyond those whose updates are done.
    distributed.credit_frames = 2_000
    # Megabytes of a file of an actor's journal; those whose transitions a checkpoint of the replay
    # has are dropped as a whole.
    distributed.journal_segment_mb = 64.0
    # Updates between two publications of the parameters to the actors.
    distributed.publish_period_updates = 100
    # Devices of its machine over which the learner spreads each batch; 0: all.
    distributed.learner_devices = 0
    # Where actors and evaluator compute: "auto", "cpu" or "gpu".
    distributed.actor_platform = "cpu"
    return distributed


def _optimizer() -> ml_collections.ConfigDict:
    optimizer = ml_collections.ConfigDict()
    optimizer.name = "adam"  # [Z]
    optimizer.learning_rate = 6.25e-5  # [Z] 0.00025 / 4
    optimizer.b1 = 0.9  # [Z] optax's default
    optimizer.b2 = 0.999  # [Z] optax's default
    optimizer.epsilon = 1.5625e-4  # [Z] 0.005 / 32; [H] 1.5e-4
    optimizer.max_gradient_norm = 10.0  # [Z], global; 0: no clipping
    optimizer.schedule = schedules.default_config()
    optimizer.projection = projection.default_config()
    return optimizer
