"""Trains on a supervised stream: `scripts.train` by the name of what is in configs/supervised.

python -m scripts.supervised --config=configs/supervised/random_labels.py:nap
"""

from absl import flags

from scripts import command_line, train

flags.adopt_module_key_flags(train)

if __name__ == "__main__":
    command_line.run(train.main)
