"""One config for each method of plasticity, all on the same small task (configs/lab/task.py).

    python -m scripts.train --config=configs/lab/redo.py

They show how a method is switched on, in a minute or two on a CPU; their settings are defaults
scaled to the task's length, not tuned.
"""
