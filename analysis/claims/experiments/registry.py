"""All experiments, by name: the directory in docs/results/ and that of the protocol."""

from collections.abc import Mapping

from analysis.claims.experiments import (
    classification,
    contract,
    evaluated,
    label_variants,
    network_variants,
    replays,
    stream_variants,
    supervised,
)

EXPERIMENTS: Mapping[str, contract.Experiment] = {
    "classification_stream": classification.make(
        "C51 on a stream of classification tasks, pixels and classes permuted in each",
        "c51",
        classification.ALL_ARMS,
        (4, 28),
    ),
    "classification_stream_rainbow": classification.make(
        "Rainbow on the same stream, with tasks of 2,000 updates",
        "rainbow",
        classification.MAIN_ARMS,
        (9, 45),
    ),
    "classification_stream_mse": classification.make(
        "Double DQN with half the squared error on the same stream, discount 0.99, 30 tasks",
        "mse",
        classification.MAIN_ARMS,
        (2, 9),
    ),
    "classification_stream_label": classification.make(
        "C51 on a stream of classification tasks whose images stay, classes permuted in each",
        "c51",
        classification.SCHEDULES,
        (3, 20),
        stream="label",
    ),
    "techniques": classification.techniques(),
    "projection_periods": stream_variants.projection_periods(),
    "discounts": stream_variants.discounts(),
    "values": stream_variants.values(),
    "injections": stream_variants.injections(),
    "stream_decays": stream_variants.decays(),
    "random_labels": supervised.random_labels(),
    "dead_units": supervised.dead_units(),
    "methods": supervised.methods(),
    "methods_cnn": supervised.methods_cnn(),
    "identities": replays.in_float64(),
    "replayed_schedule": replays.replayed_schedule(),
    "annealing": replays.annealing(),
    "weight_decay": label_variants.weight_decay(),
    "scales": label_variants.scales(),
    "abruptness": label_variants.abruptness(),
    "changes": label_variants.changes(),
    "rescaling": label_variants.rescaling(),
    "architectures": network_variants.architectures(),
    "held_out": network_variants.held_out(),
    "revival": network_variants.revival(),
    "linearised_units": network_variants.linearised_units(),
    "point_mass_iql": evaluated.point_mass_iql(),
    "lunar_lander": evaluated.lunar_lander(),
}
