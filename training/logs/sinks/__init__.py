"""Where a run's rows go: CSV files always; JSON lines, TensorBoard and Weights & Biases if asked.

Each is one file with one class that keeps the protocol of `base`. Called by training/logs.
"""
