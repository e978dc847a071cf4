"""Replays that live on the learner's device; found by name (`replay.module`), one file each."""
