"""Playing with fixed parameters: choosing actions, evaluation, films."""
