"""All experiments, by name: the directory in docs/results/ and that of the protocol."""

from collections.abc import Mapping

from analysis.claims.experiments import classification, contract, point_mass, supervised

EXPERIMENTS: Mapping[str, contract.Experiment] = {
    "classification_stream": classification.make(
        "C51 on a stream of classification tasks, pixels and classes permuted in each",
        "c51",
        classification.ALL_ARMS,
        (8, 65),
    ),
    "classification_stream_rainbow": classification.make(
        "Rainbow on the same stream, with tasks of 2,000 updates",
        "rainbow",
        classification.MAIN_ARMS,
        (20, 100),
    ),
    "classification_stream_mse": classification.make(
        "Double DQN with half the squared error on the same stream, discount 0.99, 30 tasks",
        "mse",
        classification.MAIN_ARMS,
        (4, 20),
    ),
    "random_labels": supervised.random_labels(),
    "dead_units": supervised.dead_units(),
    "methods": supervised.methods(),
    "replayed_schedule": supervised.replayed_schedule(),
    "point_mass_iql": point_mass.make(),
}
